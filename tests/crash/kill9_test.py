#!/usr/bin/env python3
"""Real SIGKILL of every command that writes, at a random moment, against an exact oracle.

Usage: kill9_test.py PLEACH file|threads|block|ext4|xfs|btrfs [KILLS]

  file     a file in the temporary folder      block   a raw loop device
  threads  the same without io_uring           ext4, xfs, btrfs   a file on such a file system, on a loop device
           (btrfs: without copy-on-write)

Killed are: load in batches, at any moment and while it closes; load in bulk; delete-range; drop; put of a large value, whole or
a part of one; grow; mkfs over a store; and, after any of these, the recovery, up to three times. After each kill the store
must hold exactly what the oracle allows, read-only with the log applied in memory; fsck must be clean; the next command goes on
from there, which recovers it for good.

What it is not: a test of power loss (the simulation is): the page cache of the kernel survives a SIGKILL.
Counters: kill9_KIND= to $PLEACH_REPORT_DIR.
"""
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time

from kill9_oracle import oracle, record, violation
from real_kernel import MIB, in_own_mounts, loop_device, mounted, need

EFFORT = {"threads": 10}
DECK = ["load"] * 8 + ["close"] * 2 + ["bulk", "drop", "range", "large", "grow"] * 2 + ["mkfs"]
FIRST_SIZE = 100 * MIB  # grows beyond the first allocation group, of 126 MiB
LAST_SIZE = 160 * MIB
RESTART_AT = 15000      # records after which a new store is made


class store_under_fire:
    def __init__(self, pleach, kind, path, folder, seed):
        self.pleach, self.kind, self.path, self.folder, self.seed = pleach, kind, path, folder, seed
        self.draw = random.Random(seed)
        self.span = collections.defaultdict(lambda: 0.05)  # seconds within which a command is killed
        self.kills = collections.Counter()
        self.ended = self.early = 0
        self.expected = oracle(seed)
        self.deck = []
        self.story = collections.deque(maxlen=6)  # the last commands that were shot at
        self.new_store()

    # --- commands ---

    def common(self):
        cache = self.draw.choice(("3MiB", "8MiB", "32MiB", "128MiB"))
        device = "threads" if self.kind == "threads" else self.draw.choice(("auto", "auto", "threads"))
        return ["--quiet", "--cache", cache, "--device", device]

    def run(self, *arguments, ok=(0,)):
        done = subprocess.run([self.pleach, *arguments], capture_output=True, timeout=120)
        if done.returncode not in ok:
            raise violation("pleach %s: exit %d: %s" % (" ".join(arguments), done.returncode,
                                                        (done.stderr + done.stdout).decode(errors="replace").strip()))
        return done.stdout.decode(errors="surrogateescape")

    def shoot(self, what, *arguments, wait_for=None):
        """Runs a command and kills it. The moment is drawn from a span that learns how long such a command takes.
        RETURNS: whether it was killed, and its standard output. With `wait_for` it is killed after that line."""
        with open(os.path.join(self.folder, "out"), "w+b") as out:
            process = subprocess.Popen([self.pleach, *arguments], stdout=out, stderr=subprocess.PIPE)
            if wait_for:
                self.wait_for_line(process, out.name, wait_for)
            time.sleep(self.draw.random() * self.span[what])
            process.kill()
            error = process.communicate()[1].decode(errors="replace").strip()
            out.seek(0)
            text = out.read().decode(errors="surrogateescape")
        if process.returncode not in (-9, 0):
            raise violation("pleach %s: exit %d: %s" % (" ".join(arguments), process.returncode, error))
        killed = process.returncode == -9
        self.story.append("%s%s" % (" ".join(arguments), " KILLED" if killed else ""))
        self.kills[what] += killed
        self.ended += not killed
        self.span[what] = min(max(self.span[what] * (1.15 if killed else 0.7), 0.002), 1.0)
        return killed, text

    @staticmethod
    def wait_for_line(process, name, line):
        with open(name) as out:
            while process.poll() is None:
                out.seek(0)
                if line in out.read().splitlines():
                    return
                time.sleep(0.001)

    def content(self):
        found = {}
        for line in self.run("save", self.path, "--quiet").splitlines():
            r = json.loads(line)
            found[r["tree"], r["key"]] = r["value"]
        return found

    def after(self, killed):
        """What the store holds now; before that, often, recoveries that are killed as well."""
        found = self.content()
        self.run("fsck", "-n", self.path, "--quiet")
        nested = 0
        while killed and nested < 3 and self.draw.random() < 0.4:
            nested += 1
            killed, _ = self.shoot("recovery", "upgrade", self.path, *self.common())
            if self.content() != found:
                raise violation("recovery %d was killed, and the content is another one" % nested)
            self.run("fsck", "-n", self.path, "--quiet")
        return found

    # --- what is killed ---

    def input_file(self, records):
        path = os.path.join(self.folder, "input.jsonl")
        with open(path, "w") as f:
            for tree, key, value in records:
                f.write(json.dumps({"tree": tree, "key": key, "value": value}) + "\n")
        return path

    def load(self, what="load", offered=4000, all_acked=False):
        if self.expected.count > RESTART_AT:
            self.new_store()
        base, batch = self.expected.count, self.draw.choice((1, 7, 20, 50))
        path = self.input_file(record(self.seed, i) for i in range(base, base + offered))
        killed, text = self.shoot(what, "load", self.path, path, "--ack", "--batch", str(batch), *self.common(),
                                  wait_for="acked %d" % offered if all_acked else None)
        acks = [l for l in text.split("\n")[:-1] if l.startswith("acked ")]
        acked = int(acks[-1].split()[1]) if acks else 0
        self.early += killed and acked == 0
        if all_acked and acked != offered:
            raise violation("%d of %d records acknowledged at the end" % (acked, offered))
        self.expected.loaded(self.after(killed), offered, acked, batch)

    def close(self):
        self.load("close", self.draw.choice((200, 1500)), all_acked=True)

    def bulk(self, shot=True):
        """All of a bulk load is one commit."""
        tree = "bulk%d" % self.draw.randrange(1 << 30)
        new = {(tree, "key-%08d" % i): "%d" % i * self.draw.randrange(1, 40) for i in range(20000)}
        arguments = ["load", self.path, self.input_file((*k, v) for k, v in new.items()), *self.common()]
        if shot:
            killed, _ = self.shoot("bulk", *arguments)
        else:
            killed, _ = False, self.run(*arguments)
        self.expected.is_one_of(self.after(killed), {**self.expected.records, **new})

    def bulk_trees(self):
        return sorted({t for t, _ in self.expected.records if t.startswith("bulk")})

    def drop(self):
        if not self.bulk_trees():
            self.bulk(shot=False)
        tree = self.draw.choice(self.bulk_trees())
        without = {k: v for k, v in self.expected.records.items() if k[0] != tree}
        killed, _ = self.shoot("drop", "drop", self.path, tree, *self.common())
        self.expected.is_one_of(self.after(killed), without)
        if not killed and self.expected.records != without:
            raise violation("the tree was dropped, and is there")

    def range(self):
        if not self.bulk_trees():
            self.bulk(shot=False)
        tree = self.draw.choice(self.bulk_trees())
        keys = sorted(k for t, k in self.expected.records if t == tree)
        first, end = sorted(self.draw.sample(keys, 2)) if len(keys) > 1 else (keys[0], "z")
        killed, text = self.shoot("range", "delete-range", self.path, tree, first, end, *self.common())
        self.expected.range_deleted(self.after(killed), tree, first, end, whole=not killed)

    def large(self):
        """A value with a map: written whole, or a part of it."""
        old = self.expected.records.get(("big", "value"), "")
        part = self.draw.choice("abcdef") * self.draw.randrange(1, 3 * MIB)
        arguments = ["put", self.path, "big", "value", "--create"]
        new = part
        if old and self.draw.random() < 0.6:
            at = self.draw.randrange(len(old))
            new = old[:at] + part + old[at + len(part):]
            arguments = ["put", self.path, "big", "value", "--offset", str(at)]
        path = os.path.join(self.folder, "value")
        with open(path, "w") as f:
            f.write(part)
        killed, _ = self.shoot("large", *arguments, "--value-file", path, *self.common())
        after = {**self.expected.records, ("big", "value"): new}
        self.expected.is_one_of(self.after(killed), after)
        if not killed and self.expected.records != after:
            raise violation("the value was written, and is not there")

    def size(self):
        return json.loads(self.run("stat", self.path, "--json"))["size_bytes"]

    def grow(self):
        """The size may be one between: between two steps of growing the store is sound."""
        if self.kind == "block" or self.size() + 4 * MIB > LAST_SIZE:
            return self.mkfs()
        old = self.size()
        new = self.draw.randrange(old + 4 * MIB, LAST_SIZE + 1) // 8192 * 8192
        killed, _ = self.shoot("grow", "grow", self.path, "--size", str(new), *self.common())
        self.expected.is_exactly(self.after(killed))
        now = self.size()
        if not old <= now <= new or (not killed and now != new):
            raise violation("grown from %d to %d bytes, the store has %d" % (old, new, now))
        again = self.draw.randrange(now, LAST_SIZE + 1) // 8192 * 8192  # the file may be longer by now
        self.run("grow", self.path, "--size", str(again), *self.common())
        if self.size() != again:
            raise violation("grown again to %d bytes, the store has %d" % (again, self.size()))
        self.expected.is_exactly(self.content())

    def mkfs_arguments(self):
        size = [] if self.kind == "block" else ["--size", str(FIRST_SIZE)]
        return ["mkfs", self.path, "--force", *size, "--quiet", "--max-node", self.draw.choice(("16KiB", "64KiB")),
                "--log-size", self.draw.choice(("1MiB", "2MiB", "8MiB"))]

    def mkfs(self):
        """The old store, an empty one, or (on a device) none, which is said."""
        killed, _ = self.shoot("mkfs", *self.mkfs_arguments())
        self.remove_unfinished()
        looked = subprocess.run([self.pleach, "trees", self.path], capture_output=True, text=True)
        if looked.returncode == 8 and "not a Pleach store" in looked.stderr and self.kind == "block" and killed:
            return self.new_store()
        if self.kind == "block" and killed:
            self.mend_superblocks()
        self.expected.is_one_of(self.after(killed), {})
        if not self.expected.records:
            self.expected = oracle(self.seed)
        elif not killed:
            raise violation("mkfs ended, and the old store is there")

    def mend_superblocks(self):
        """Until something is written, fsck names the copies that mkfs had erased, or not written yet."""
        report = json.loads(self.run("fsck", self.path, "--json", ok=(0, 4)))
        for p in report["problems"]:
            if not p["where"].startswith("superblock ") or "this copy is damaged" not in p["what"]:
                raise violation("after a killed mkfs fsck finds %s: %s" % (p["where"], p["what"]))
        self.run("create", self.path, "empty%d" % self.draw.randrange(1 << 30))

    def remove_unfinished(self):
        """mkfs makes a file beside, which a kill leaves."""
        folder, name = os.path.split(self.path)
        for other in os.listdir(folder) if self.kind != "block" else ():
            if other.startswith(name + ".mkfs-"):
                os.unlink(os.path.join(folder, other))

    def new_store(self):
        self.run(*self.mkfs_arguments())
        self.expected = oracle(self.seed)

    def next(self):
        if not self.deck:
            self.deck = self.draw.sample(DECK, len(DECK))
        getattr(self, self.deck.pop())()


@contextlib.contextmanager
def place(kind):
    """Yields where the store is."""
    if kind in ("file", "threads"):
        with tempfile.TemporaryDirectory(prefix="pleach-kill9-") as folder:
            yield os.path.join(folder, "store.pleach")
    elif kind == "block":
        with loop_device(128 * MIB) as device:
            yield device
    else:
        with mounted(kind, 480 * MIB) as folder:
            if kind == "btrfs":
                need("chattr")
                subprocess.run(["chattr", "+C", folder], check=True)
            yield os.path.join(folder, "store.pleach")


def main():
    pleach, kind = os.path.abspath(sys.argv[1]), sys.argv[2]
    if kind not in ("file", "threads", "block"):
        in_own_mounts()
    reduced = os.environ.get("PLEACH_EFFORT") == "reduced"
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 10 if reduced else EFFORT.get(kind, 50)
    seed = int(os.environ.get("PLEACH_SEED", "7"))
    deadline = time.monotonic() + float(os.environ.get("PLEACH_KILL9_SECONDS", "150"))
    with place(kind) as path, tempfile.TemporaryDirectory(prefix="pleach-kill9-") as folder:
        try:
            store = store_under_fire(pleach, kind, path, folder, seed)
            while store.kills.total() < kills and time.monotonic() < deadline:
                store.next()
        except violation as what:
            print("kill9 (%s, PLEACH_SEED=%d): %s\nbefore that:" % (kind, seed, what), *store.story, sep="\n  ", file=sys.stderr)
            return 1
    killed = store.kills.total()
    print("kill9 %s: %d kills (%s; %d of load before the first acknowledgement), %d commands that ended, nothing lost"
          % (kind, killed, ", ".join("%d %s" % (n, what) for what, n in store.kills.most_common()), store.early, store.ended))
    if "PLEACH_REPORT_DIR" in os.environ:
        with open(os.path.join(os.environ["PLEACH_REPORT_DIR"], "kill9_%s.counters" % kind), "a") as f:
            f.write("kill9_%s=%d\n" % (kind, killed))
    return 0 if killed >= min(kills, 10) else 1


sys.exit(main())
