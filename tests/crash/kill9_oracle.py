"""What a killed store must hold: a dictionary, and records that are made from their index."""
import random


def record(seed, i):
    """Every fifth record replaces an earlier one; sizes go from nothing to beyond a quarter of a node."""
    r = random.Random(seed * 1000003 + i)
    key_of = r.randrange(i) if i > 0 and i % 5 == 4 else i
    tree = "tree%d" % (key_of % 3)
    key = "key-%08x" % (key_of * 2654435761 % (1 << 32))
    size = r.choice((0, 10, 100, 400, 400, 900)) if i % 97 else 9000
    return tree, key, "%d:" % i + "x" * size


class violation(Exception):
    pass


def difference(found, wanted):
    missing = [k for k in wanted if k not in found]
    extra = [k for k in found if k not in wanted]
    other = [k for k in found if k in wanted and found[k] != wanted[k]]
    return "%d missing %s, %d extra %s, %d other %s" % (
        len(missing), missing[:3], len(extra), extra[:3], len(other), other[:3])


class oracle:
    """I1 `records` is what the store holds, (tree, key) -> value, whenever no command is under way.
    I2 `count` records of record() were given to it so far."""

    def __init__(self, seed):
        self.seed, self.count, self.records = seed, 0, {}

    def is_exactly(self, found):
        if found != self.records:
            raise violation("the store is not what it was: " + difference(found, self.records))

    def is_one_of(self, found, *others):
        """The store is as before, or one of `others`."""
        for wanted in (self.records, *others):
            if found == wanted:
                self.records = wanted
                return
        raise violation("neither the old content nor the new: from the old one " + difference(found, self.records))

    def loaded(self, found, offered, acked, batch):
        """The store has taken the first m of `offered` more records: whole batches, and all acknowledged ones."""
        base = self.count
        newest = [int(v.split(":")[0]) for (tree, _), v in found.items() if tree.startswith("tree")]
        m = max(max(newest, default=-1) + 1, base)
        if m < base + acked:
            raise violation("%d records acknowledged, but the store ends at %d" % (base + acked, m))
        if m > base + offered or ((m - base) % batch != 0 and m != base + offered):
            raise violation("half a batch: %d records of this run in batches of %d" % (m - base, batch))
        for i in range(base, m):
            tree, key, value = record(self.seed, i)
            self.records[tree, key] = value
        self.count = m
        self.is_exactly(found)

    def range_deleted(self, found, tree, first, end, whole):
        """Of the range nothing is left (`whole`), or its records from some key on."""
        of_range = sorted(k for t, k in self.records if t == tree and first <= k < end)
        left = [k for k in of_range if (tree, k) in found]
        if left != of_range[len(of_range) - len(left):]:
            raise violation("deleting a range went round a record: %d of %d are left" % (len(left), len(of_range)))
        if whole and left:
            raise violation("the range was deleted, and %d of its records are there" % len(left))
        for k in of_range[:len(of_range) - len(left)]:
            del self.records[tree, k]
        self.is_exactly(found)
