#!/usr/bin/env python3
"""Real SIGKILL of a loading process, against an oracle.

Usage: kill9_test.py PLEACH file|block [KILLS]

Records are made from their index, so the oracle is a replay of the first M records. After each kill the store must hold exactly the
first M records for some M >= what was acknowledged, M - base a multiple of the batch (or all), and fsck must be clean. Then the load goes
on from M; now and then in a new store.

What it is not: a test of power loss (the simulation is): the page cache of the kernel survives a SIGKILL.
Counters: kill9_file= or kill9_block= to $PLEACH_REPORT_DIR.
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import time

pleach, kind = os.path.abspath(sys.argv[1]), sys.argv[2]
kills = int(sys.argv[3]) if len(sys.argv) > 3 else (10 if os.environ.get("PLEACH_EFFORT") == "reduced" else 100)
seed = int(os.environ.get("PLEACH_SEED", "7"))
draw = random.Random(seed)
ROUND = 4000          # records offered to one load
RESTART_AT = 15000    # records after which a new store is made
DEADLINE = time.monotonic() + float(os.environ.get("PLEACH_KILL9_SECONDS", "150"))


def record(i):
    """Every fifth record replaces an earlier one; sizes go from nothing to beyond a quarter of a node."""
    r = random.Random(seed * 1000003 + i)
    key_of = r.randrange(i) if i > 0 and i % 5 == 4 else i
    tree = "tree%d" % (key_of % 3)
    key = "key-%08x" % (key_of * 2654435761 % (1 << 32))
    size = r.choice((0, 10, 100, 400, 400, 900)) if i % 97 else 9000
    return tree, key, "%d:" % i + "x" * size


def fail(text):
    print("kill9 (%s, PLEACH_SEED=%d): %s" % (kind, seed, text), file=sys.stderr)
    sys.exit(1)


def run(*arguments, ok=(0,)):
    done = subprocess.run([pleach, *arguments], capture_output=True, timeout=120)
    if done.returncode not in ok:
        fail("pleach %s: exit %d: %s" % (" ".join(arguments), done.returncode, done.stderr.decode(errors="replace").strip()))
    return done.stdout


def content(store):
    found = {}
    for line in run("save", store, "--quiet").splitlines():
        r = json.loads(line)
        found[r["tree"], r["key"]] = r["value"]
    return found


class oracle:
    """The first `count` records, replayed."""

    def __init__(self):
        self.count, self.records = 0, {}

    def advance(self, count):
        while self.count < count:
            tree, key, value = record(self.count)
            self.records[tree, key] = value
            self.count += 1


def check(store, expected, acked, batch, all_of):
    found = content(store)
    m = max((int(v.split(":")[0]) for v in found.values()), default=-1) + 1
    base = expected.count
    if m < base + acked:
        fail("%d records acknowledged, but the store ends at %d" % (base + acked, m))
    if (m - base) % batch != 0 and m != all_of:
        fail("half a batch: %d records of this run in batches of %d" % (m - base, batch))
    expected.advance(m)
    if found != expected.records:
        missing = [k for k in expected.records if k not in found]
        extra = [k for k in found if k not in expected.records]
        other = [k for k in found if k in expected.records and found[k] != expected.records[k]]
        fail("the store is not the first %d records: %d missing %s, %d extra %s, %d other %s"
             % (m, len(missing), missing[:3], len(extra), extra[:3], len(other), other[:3]))
    run("fsck", "-n", store, "--quiet")


def load_and_kill(store, folder, base):
    batch = draw.choice((1, 7, 20, 50))
    path = os.path.join(folder, "input.jsonl")
    with open(path, "w") as f:
        for i in range(base, base + ROUND):
            tree, key, value = record(i)
            f.write(json.dumps({"tree": tree, "key": key, "value": value}) + "\n")
    command = [pleach, "load", store, "--ack", "--quiet", "--batch", str(batch), "--cache", draw.choice(("8MiB", "32MiB")),
               "--device", draw.choice(("auto", "threads")), path]
    out = os.path.join(folder, "acks")
    with open(out, "wb") as acks:
        process = subprocess.Popen(command, stdout=acks, stderr=subprocess.PIPE)
        time.sleep(draw.random() ** 2 * 0.25)
        process.kill()
        error = process.communicate()[1]
    if process.returncode not in (-9, 0):
        fail("load: exit %d: %s" % (process.returncode, error.decode(errors="replace").strip()))
    lines = [l for l in open(out).read().split("\n")[:-1] if l.startswith("acked ")]
    return process.returncode == -9, batch, int(lines[-1].split()[1]) if lines else 0


def new_store(store):
    if kind == "file":
        if os.path.exists(store):
            os.unlink(store)
        run("mkfs", store, "--size", "128MiB", "--log-size", draw.choice(("2MiB", "8MiB")), "--quiet")
    else:
        run("mkfs", store, "--force", "--log-size", draw.choice(("2MiB", "8MiB")), "--quiet")
    return oracle()


def main():
    with tempfile.TemporaryDirectory(prefix="pleach-kill9-") as folder:
        loop = None
        store = os.path.join(folder, "store.pleach")
        if kind == "block":
            image = os.path.join(folder, "image")
            with open(image, "wb") as f:
                f.truncate(128 << 20)
            made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
            if made.returncode != 0:
                print("no loop device here: " + made.stderr.strip())
                return 77
            store = loop = made.stdout.strip()
        try:
            expected, killed, tries, early = new_store(store), 0, 0, 0
            while killed < kills and time.monotonic() < DEADLINE:
                if expected.count > RESTART_AT:
                    expected = new_store(store)
                base = expected.count
                was_killed, batch, acked = load_and_kill(store, folder, base)
                check(store, expected, acked, batch, base + ROUND)
                tries += 1
                killed += was_killed
                early += was_killed and acked == 0
                if killed % 25 == 0 and was_killed:
                    print("kill9 %s: %d kills" % (kind, killed), flush=True)
        finally:
            if loop:
                subprocess.run(["losetup", "-d", loop])
        print("kill9 %s: %d kills (%d before the first acknowledgement), %d loads that ended, nothing lost"
              % (kind, killed, early, tries - killed))
        if "PLEACH_REPORT_DIR" in os.environ:
            with open(os.path.join(os.environ["PLEACH_REPORT_DIR"], "kill9_%s.counters" % kind), "a") as f:
                f.write("kill9_%s=%d\n" % (kind, killed))
        return 0 if killed >= min(kills, 10) else 1


sys.exit(main())
