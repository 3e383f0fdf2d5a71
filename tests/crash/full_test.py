#!/usr/bin/env python3
"""File systems that fill under an open store, and a store that fills in a file.

Usage: full_test.py PLEACH STORE_HAND [SCENARIO]

No space anywhere: that transaction fails before it changed anything; reads, deletes and closing go on; when space is freed
work resumes without reopening. Only where a write over what is there needs space (a file with holes, copy-on-write) the store
stops, and everything acknowledged is there after reopening.
"""
import contextlib
import os
import subprocess
import sys

from hand import expect, expect_run, hand, run, run_scenarios, wrong
from real_kernel import MIB, in_own_mounts, mounted, need

pleach, hand_program = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
BIG = 1 << 20  # records that nobody gets to


class ballast:
    """A file that takes what is free, less `spare` bytes."""

    def __init__(self, folder, spare=0):
        self.path = os.path.join(folder, "ballast")
        with open(self.path, "wb", buffering=0) as f:
            with contextlib.suppress(OSError):
                while True:
                    f.write(os.urandom(MIB))  # a file system may compress
            with contextlib.suppress(OSError):
                while True:
                    f.write(os.urandom(4096))
            f.truncate(max(f.tell() - spare, 0))
            os.fsync(f.fileno())

    def free(self):
        os.unlink(self.path)
        os.sync()


def used(folder):
    s = os.statvfs(folder)
    return (s.f_blocks - s.f_bfree) * s.f_frsize


def make(path, size):
    expect_run(0, "", pleach, "mkfs", path, "--size", str(size), "--quiet")


def fill(h, first, size=8000, version=1):
    """Puts until the store is full. RETURNS: records that fitted."""
    done, outcome = h.put(first, BIG, size, version)
    expect("putting into a full store", outcome, "no_space")
    return done


# --- scenarios ---

def volume_full():
    """The store is full, its file system is not."""
    with mounted("ext4", 64 * MIB) as folder:
        path = os.path.join(folder, "store")
        make(path, 8 * MIB)
        h = hand(hand_program)
        expect("open", h.open(path), "ok")
        n = fill(h, 0)
        if n < 100:
            raise wrong("full after %d records" % n)
        h.check()
        if fill(h, n) > 16:
            raise wrong("the full store took more")
        h.check()
        done, outcome = h.delete(0, n // 2)
        expect("deleting from a full store", outcome, "ok")
        if fill(h, BIG) < n // 4:
            raise wrong("what was deleted made no room")
        h.check()
        expect("close", h.close(), "ok")
        expect("open", h.open(path), "ok")
        h.check()
        expect("close", h.close(), "ok")


def growth(folder, path, size, refuse, allow):
    """`refuse` takes the space that growth needs; growth is refused, without a trace, until `allow`."""
    make(path, size)
    h = hand(hand_program)
    expect("open", h.open(path), "ok")
    h.put(0, 32, 1000, 1)
    refuse()
    before = used(folder), os.stat(path)
    for _ in range(3):
        expect("growing", h.say("grow %d" % (64 * size)), "device_full")
        after = used(folder), os.stat(path)
        if after[1].st_size != before[1].st_size or after[1].st_blocks > before[1].st_blocks + 8:
            raise wrong("a refused growth left %d bytes of %d, %d blocks of %d" % (
                after[1].st_size, before[1].st_size, after[1].st_blocks, before[1].st_blocks))
    expect("size", h.say("size"), str(size))
    h.check()
    n = 32 + fill(h, 32, 1000)
    h.check()
    allow()
    expect("growing with space", h.say("grow %d" % (size + size // 4)), "ok")
    if fill(h, n, 1000) < n // 10:
        raise wrong("growth made no room")
    h.check()
    expect("close", h.close(), "ok")
    expect("open", h.open(path), "ok")
    h.check()
    expect("close", h.close(), "ok")


def growth_ext4():
    for size in (8, 16, 32, 64):
        with mounted("ext4", size * MIB, make=("-m", "0")) as folder:
            full = []
            growth(folder, os.path.join(folder, "store"), 4 * MIB,
                   lambda: full.append(ballast(folder, spare=256 << 10)), lambda: full[0].free())


def growth_without_ring():
    """The same through the other device back end, by the tool: its words and exit codes."""
    with mounted("ext4", 16 * MIB, make=("-m", "0")) as folder:
        path = os.path.join(folder, "store")
        expect_run(8, "no space", pleach, "mkfs", path, "--size", "64MiB")
        if os.listdir(folder) != ["lost+found"]:
            raise wrong("a failed mkfs left %s" % os.listdir(folder))
        make(path, 4 * MIB)
        full = ballast(folder, spare=256 << 10)
        for device in ("auto", "threads"):
            expect_run(8, "no space", pleach, "grow", path, "--size", "32MiB", "--device", device)
            if os.stat(path).st_size != 4 * MIB:
                raise wrong("--device %s: a refused growth left %d bytes" % (device, os.stat(path).st_size))
            expect_run(0, "", pleach, "put", path, "t", device, "v", "--create", "--device", device)
        full.free()
        expect_run(0, "", pleach, "grow", path, "--size", "6MiB")
        expect_run(0, "", pleach, "fsck", path)


def quota():
    """A btrfs quota group refuses growth."""
    need("btrfs")
    with mounted("btrfs", 256 * MIB) as folder:
        inner = os.path.join(folder, "limited")
        for arguments in (("quota", "enable", folder), ("subvolume", "create", inner), ("qgroup", "limit", "24M", inner)):
            done = subprocess.run(["btrfs", *arguments], capture_output=True, text=True)
            if done.returncode != 0:
                raise wrong("btrfs %s: %s" % (" ".join(arguments), done.stderr.strip()))
        need("chattr")
        subprocess.run(["chattr", "+C", inner], check=True)
        growth(inner, os.path.join(inner, "store"), 8 * MIB, lambda: None,
               lambda: subprocess.run(["btrfs", "qgroup", "limit", "none", inner], check=True))


def overwrite(folder, path, before_full):
    """Writes over what is there need space, and there is none."""
    make(path, 16 * MIB)
    h = hand(hand_program)
    expect("open", h.open(path), "ok")
    expect("put", h.put(0, 1000, 4000, 1)[1], "ok")
    expect("close", h.close(), "ok")
    before_full()
    os.sync()
    full = ballast(folder)
    opened = h.open(path)
    version = 1
    if opened == "ok":
        for version in range(2, 40):
            done, outcome = h.put(0, 1000, 4000, version)
            if outcome != "ok":
                break
        expect("writing without space", outcome, "outcome_unknown", "failed")
        expect("after that", h.put(0, 16, 100, version + 1)[1], "failed")
        expect("reading after that", h.say("list"), "failed", "records")
        if h.close() == "ok":
            raise wrong("a store that had stopped says that it was closed")
    else:
        expect("open without space", opened, "device_full")
    if run(pleach, "fsck", path)[0] != 0:
        raise wrong("without space the store cannot be read: %s" % run(pleach, "fsck", path)[2])
    code, _, said = run(pleach, "put", path, "left", "x", "y")
    if code not in (0, 8):
        raise wrong("a put without space: exit %d: %s" % (code, said))
    if code == 0:
        expect_run(0, "", pleach, "del", path, "left", "x")
    full.free()
    expect("open", h.open(path), "ok")
    h.check()
    expect("put with space", h.put(0, 1000, 4000, version + 2)[1], "ok")
    h.check()
    expect("close", h.close(), "ok")


def holes():
    """A file with holes, as a copy may have them."""
    need("fallocate")
    with mounted("ext4", 64 * MIB, make=("-m", "0")) as folder:
        path = os.path.join(folder, "store")
        overwrite(folder, path, lambda: subprocess.run(["fallocate", "--dig-holes", path], check=True))


def copy_on_write():
    with mounted("btrfs", 128 * MIB) as folder:
        overwrite(folder, os.path.join(folder, "store"), lambda: None)


SCENARIOS = [volume_full, growth_ext4, growth_without_ring, quota, holes, copy_on_write]


if __name__ == "__main__":
    in_own_mounts()
    sys.exit(run_scenarios("full", SCENARIOS, sys.argv[3:]))
