#!/usr/bin/env python3
"""What happens to a store's file from outside: before it is opened, and while it is open.

Usage: open_file_test.py PLEACH STORE_HAND [SCENARIO...]

Cut short, made immutable, removed; on a medium that is read-only, or becomes it; beyond the limit of the process on the size of
files; opened by a second process, also while the first one recovers it. Nothing hangs, nothing wrong is read, errors have the
words and exit codes of doc/cli.md, and what was acknowledged is there when the file is well again.
"""
import os
import resource
import signal
import subprocess
import sys
import time

from hand import expect, expect_run, hand, run, run_scenarios, wrong
from real_kernel import MIB, in_own_mounts, mounted, need

pleach, hand_program = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])


def system(*arguments):
    """Runs a program; one that finds a process on its way out in the way, again."""
    for _ in range(200):
        done = subprocess.run(arguments, capture_output=True, text=True)
        if "busy" not in done.stderr:
            break
        time.sleep(0.05)
    if done.returncode != 0:
        raise wrong("%s: %s" % (" ".join(arguments), done.stderr.strip()))


def make(folder, records=2000, size=32 * MIB, cache=4):
    """RETURNS: the path of a store, and a process that has it open."""
    path = os.path.join(folder, "store")
    expect_run(0, "", pleach, "mkfs", path, "--size", str(size), "--log-size", "2MiB", "--quiet")
    h = hand(hand_program)
    expect("open", h.open(path, cache=cache), "ok")
    expect("put", h.put(0, records, 4000, 1)[1], "ok")
    return path, h


def stops_and_comes_back(h, path, heal):
    """The store cannot write any more: it stops, and has all that was acknowledged after `heal`."""
    outcome = "ok"
    for version in range(2, 20):
        outcome = h.put(0, 500, 4000, version)[1]
        if outcome != "ok":
            break
    expect("a put that cannot be written", outcome, "outcome_unknown", "failed")
    expect("the next put", h.put(0, 16, 100, 50)[1], "failed")
    expect("closing a store that had stopped", h.close(), "failed")
    heal()
    expect("open", h.open(path, cache=4), "ok")
    h.check()
    expect("put", h.put(0, 500, 4000, 60)[1], "ok")
    h.check()
    expect("close", h.close(), "ok")


# --- scenarios ---

def truncated():
    """Cut to a half while it is open: what is gone is an error, never another content."""
    with mounted("ext4", 64 * MIB) as folder:
        path, h = make(folder, records=4000)
        expect("close", h.close(), "ok")
        for how in ("write", "read"):
            whole = open(path, "rb").read()
            expect("open", h.open(path, how, cache=4), "ok")
            os.truncate(path, 8 * MIB)
            expect("reading what is gone", h.say("list"), "corrupt", "truncated", "io")
            if how == "write":
                outcome = h.put(10000, 4000, 4000, 1)[1]
                expect("putting", outcome, "ok", "corrupt", "truncated", "io", "failed", "outcome_unknown", "no_space")
                expect("reading what is gone", h.say("list"), "corrupt", "truncated", "io", "failed")
            h.close()
            if run(pleach, "fsck", path, "--quiet")[0] != 4:
                raise wrong("fsck of a cut store: exit %d" % run(pleach, "fsck", path)[0])
            os.truncate(path, 8 * MIB)
            expect_run(8, "truncated", pleach, "put", path, "left", "k", "v")
            expect_run(8, "truncated", pleach, "get", path, "left", "k")
            if "truncated" not in expect_run(4, "corrupt", pleach, "fsck", path):
                raise wrong("fsck of a cut store does not say truncated")
            for size in (0, 4096, 100000):
                os.truncate(path, size)
                code, _, said = run(pleach, "put", path, "left", "k", "v")
                if code != 8 or not ("not a Pleach store" in said or "truncated" in said):
                    raise wrong("cut to %d bytes: exit %d: %s" % (size, code, said))
            with open(path, "r+b") as f:
                f.write(whole)
            h.acked = {i: 1 for i in range(4000)}
            h.unknown = []
            expect("open", h.open(path), "ok")
            h.check()
            expect("close", h.close(), "ok")


def longer():
    """The file is longer than its store, as after growth that was interrupted: it grows to any size from its own on."""
    with mounted("ext4", 96 * MIB) as folder:
        path, h = make(folder)
        expect("close", h.close(), "ok")
        os.truncate(path, 64 * MIB)
        expect("open", h.open(path), "ok")
        h.check()
        expect("growing to a size between", h.say("grow %d" % (40 * MIB)), "ok")
        expect("size", h.say("size"), str(40 * MIB))
        expect("put", h.put(5000, 1500, 4000, 1)[1], "ok")
        h.check()
        expect("growing to less", h.say("grow %d" % (36 * MIB)), "bad_argument")
        expect("growing to all", h.say("grow %d" % (64 * MIB)), "ok")
        h.check()
        expect("close", h.close(), "ok")
        expect_run(0, "", pleach, "fsck", path)


def immutable():
    need("chattr")
    with mounted("ext4", 64 * MIB) as folder:
        path, h = make(folder)
        expect("close", h.close(), "ok")
        system("chattr", "+i", path)
        try:
            expect_run(8, "read-only", pleach, "put", path, "left", "k", "v")
            expect_run(8, "read-only", pleach, "grow", path, "--size", "40MiB")
            expect_run(0, "", pleach, "scan", path, "left", "--limit", "1")
            expect_run(0, "", pleach, "fsck", path)
            code, _, said = run(pleach, "mkfs", path, "--size", "8MiB", "--force")
            if code != 8 or "read-only" not in said or sorted(os.listdir(folder)) != ["lost+found", "store"]:
                raise wrong("mkfs over an immutable file: exit %d: %s; %s" % (code, said, os.listdir(folder)))
        finally:
            system("chattr", "-i", path)
        expect("open", h.open(path, cache=4), "ok")
        expect("put", h.put(0, 500, 4000, 2)[1], "ok")
        system("chattr", "+i", path)
        try:
            stops_and_comes_back(h, path, lambda: system("chattr", "-i", path))
        finally:
            system("chattr", "-i", path)


def removed():
    """The open store works on; its name is free."""
    with mounted("ext4", 96 * MIB) as folder:
        path, h = make(folder)
        os.unlink(path)
        expect("put", h.put(5000, 500, 4000, 1)[1], "ok")
        h.check()
        expect_run(8, "no such file", pleach, "get", path, "left", "k")
        expect_run(0, "", pleach, "mkfs", path, "--size", "8MiB")
        expect_run(0, "", pleach, "put", path, "left", "k", "v", "--create")
        expect("growing without a name", h.say("grow %d" % (40 * MIB)), "ok")
        h.check()
        expect("close", h.close(), "ok")
        if expect_run(0, "", pleach, "get", path, "left", "k") != "v":
            raise wrong("the new store is not the one of that name")


def read_only_mount():
    with mounted("ext4", 64 * MIB) as folder:
        path, h = make(folder)
        h.end()  # not closed: a reader applies the log
        expect_run(8, "exists", pleach, "mkfs", path, "--size", "8MiB")
        system("mount", "-o", "remount,ro", folder)
        reader = h
        expect("open to read", reader.open(path, "read"), "ok")
        reader.check()
        expect("close", reader.close(), "ok")
        for line in (("put", path, "left", "k", "v"), ("del", path, "left", "k"), ("load", path, "/dev/null"),
                     ("grow", path, "--size", "40MiB"), ("drop", path, "left"), ("upgrade", path),
                     ("mkfs", os.path.join(folder, "other"), "--size", "8MiB"), ("mkfs", path, "--size", "8MiB", "--force")):
            expect_run(8, "read-only", pleach, *line)
        expect_run(0, "", pleach, "fsck", path)
        expect("open to write", reader.open(path), "read_only")
        system("mount", "-o", "remount,rw", folder)
        expect("open", reader.open(path), "ok")
        reader.check()
        expect("close", reader.close(), "ok")
        expect("open to read", reader.open(path, "read"), "ok")
        system("mount", "-o", "remount,ro", folder)
        reader.check()
        expect("close", reader.close(), "ok")


def remounted_read_only():
    """The file system finds an error and goes read-only under a store that writes."""
    with mounted("ext4", 64 * MIB, options="errors=remount-ro") as folder:
        device = device_of(folder)
        path, h = make(folder)
        os.sync()
        with open("/sys/fs/ext4/%s/trigger_fs_error" % os.path.basename(device), "w") as f:
            f.write("test")

        def heal():
            system("umount", folder)
            subprocess.run(["e2fsck", "-fy", device], capture_output=True)
            system("mount", device, folder)
        stops_and_comes_back(h, path, heal)


def device_of(folder):
    return next(l.split()[0] for l in open("/proc/mounts") if l.split()[1] == folder)


def shut_down():
    """The file system stops all I/O at once."""
    need("xfs_io")
    for kind in ("ext4", "xfs"):
        with mounted(kind, 320 * MIB) as folder:
            device = device_of(folder)
            path, h = make(folder, cache=64)  # reads need the file system too
            system("xfs_io", "-x", "-c", "shutdown", folder)

            def heal():
                system("umount", folder)
                system("mount", device, folder)
            stops_and_comes_back(h, path, heal)


def file_system_crash():
    """What the file system's journal had not got by then is lost: a store that was made, and one that has grown, are there."""
    need("xfs_io")
    for kind in ("ext4", "xfs"):
        with mounted(kind, 320 * MIB) as folder:
            device = device_of(folder)

            def crash(h=None):
                system("xfs_io", "-x", "-c", "shutdown", folder)
                if h:
                    h.end()
                system("umount", folder)
                system("mount", device, folder)
            path = os.path.join(folder, "store")
            expect_run(0, "", pleach, "mkfs", path, "--size", "16MiB", "--quiet")
            crash()
            expect_run(0, "", pleach, "fsck", path)
            expect_run(0, "", pleach, "put", path, "t", "k", "v", "--create")
            crash()
            expect_run(0, "", pleach, "get", path, "t", "k")
            expect_run(0, "", pleach, "mkfs", path, "--size", "8MiB", "--force", "--quiet")
            crash()
            expect_run(8, "unknown tree", pleach, "get", path, "t", "k")
            h = hand(hand_program)
            expect("open", h.open(path), "ok")
            expect("growing", h.say("grow %d" % (64 * MIB)), "ok")
            expect("put", h.put(0, 5000, 4000, 1)[1], "ok")
            crash(h)
            expect("open", h.open(path), "ok")
            expect("size", h.say("size"), str(64 * MIB))
            h.check()
            expect("close", h.close(), "ok")


def size_limit():
    """RLIMIT_FSIZE: growth and mkfs beyond it are errors; a store below it works."""
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB))

    def limited_as_hosts_do():
        limited()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with mounted("ext4", 64 * MIB) as folder:
        path = os.path.join(folder, "store")
        expect_run(8, "no space", pleach, "mkfs", path, "--size", "16MiB", preexec_fn=limited, restore_signals=True)
        if os.listdir(folder) != ["lost+found"]:
            raise wrong("a failed mkfs left %s" % os.listdir(folder))
        expect_run(0, "", pleach, "mkfs", path, "--size", "4MiB", preexec_fn=limited)
        for device in ("auto", "threads"):
            expect_run(8, "no space", pleach, "grow", path, "--size", "16MiB", "--device", device, preexec_fn=limited)
            if os.stat(path).st_size != 4 * MIB:
                raise wrong("a refused growth left %d bytes" % os.stat(path).st_size)
        for device in ("auto", "threads"):
            h = hand(hand_program, before=limited_as_hosts_do)
            expect("open", h.open(path, device=device), "ok")
            h.delete(0, 5000)
            h.put(0, 200, 1000, 1)
            expect("growing", h.say("grow %d" % (16 * MIB)), "device_full")
            h.check()
            expect("close", h.close(), "ok")
        expect_run(0, "", pleach, "grow", path, "--size", "8MiB", preexec_fn=limited)
        # What lies beyond the limit cannot be written: the tool says so, and is not killed.
        expect_run(0, "", pleach, "grow", path, "--size", "32MiB")
        code, _, said = run(pleach, "load", path, "/dev/stdin", "--batch", "10", preexec_fn=limited,
                            input="".join('{"tree":"t","key":"%d","value":"%s"}\n' % (i, "x" * 8000) for i in range(2000)))
        if code != 8 or not said.startswith("pleach load:"):
            raise wrong("a load beyond the limit: exit %d: %s" % (code, said))
        expect_run(0, "", pleach, "fsck", path)


def second_process():
    with mounted("ext4", 64 * MIB) as folder:
        path, h = make(folder)
        for line in (("put", path, "left", "k", "v"), ("get", path, "left", "k"), ("fsck", path), ("stat", path),
                     ("grow", path, "--size", "40MiB"), ("mkfs", path, "--size", "8MiB", "--force")):
            expect_run(8, "already open", pleach, *line)
        expect("put", h.put(0, 160, 4000, 2)[1], "ok")
        h.check()
        expect("close", h.close(), "ok")
        readers = [hand(hand_program), hand(hand_program)]
        for r in readers:
            expect("a reader beside a reader", r.open(path, "read"), "ok")
            r.acked = h.acked
        expect_run(8, "already open", pleach, "put", path, "left", "k", "v")
        for r in readers:
            r.check()
            expect("close", r.close(), "ok")


def locks(process, path):
    """Does this process hold the file's lock? (The one that was killed may hold it a little longer.)"""
    if process.poll() is not None:
        return False
    held = (line.split() for line in open("/proc/locks"))
    return any(l[1] == "FLOCK" and l[4] == str(process.pid) and l[5].endswith(":%d" % os.stat(path).st_ino) for l in held)


def second_process_during_recovery():
    """The first one is stopped somewhere between taking the lock and the end of recovery."""
    with mounted("ext4", 64 * MIB) as folder:
        path, h = make(folder)
        h.end()
        for version in range(2, 100):
            expect("open", h.open(path), "ok")
            expect("put", h.put(0, 400, 4000, version)[1], "ok")
            h.end()
            first = subprocess.Popen([pleach, "upgrade", path, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            while first.poll() is None and not locks(first, path):
                pass
            if first.poll() is not None:
                continue  # it was faster
            first.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            if locks(first, path):
                break
            first.send_signal(signal.SIGCONT)
            first.communicate()
        else:
            raise wrong("no process was met in recovery")
        try:
            for line in (("put", path, "left", "k", "v"), ("get", path, "left", "k"), ("fsck", path)):
                expect_run(8, "already open", pleach, *line)
        finally:
            first.send_signal(signal.SIGCONT)
        if first.wait() != 0:
            raise wrong("the first process: exit %d: %s" % (first.returncode, first.stderr.read()))
        expect("open", h.open(path), "ok")
        h.check()
        expect("close", h.close(), "ok")


SCENARIOS = [truncated, longer, immutable, removed, read_only_mount, remounted_read_only, shut_down, file_system_crash,
             size_limit, second_process, second_process_during_recovery]


if __name__ == "__main__":
    in_own_mounts()
    sys.exit(run_scenarios("open file", SCENARIOS, sys.argv[3:]))
