"""Loop devices and file systems of their own for tests of the real kernel.

I1 Nothing outlives the test, however it ends, SIGKILL included: mounts are in a mount namespace of its own, loop devices
   clear themselves when the last descriptor goes, and their images have no name.
I2 What the machine lacks ends the test with 77, saying what. Only a missing program is a failure where $CI says that
   tools/deps.sh has been there.
"""
import contextlib
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

MIB = 1 << 20
LOOP_CTL_GET_FREE, LOOP_CONFIGURE, AUTOCLEAR = 0x4C82, 0x4C0A, 4
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-m", "single", "-d", "single"],
}


def skip(what):
    print("skipped: " + what)
    sys.exit(77)


def need(*programs):
    """Ends the test unless these programs are there."""
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    missing = [p for p in programs if not shutil.which(p)]
    if missing and "CI" in os.environ and os.geteuid() == 0:
        sys.exit("no program %s: tools/deps.sh --tests should install it" % ", ".join(missing))
    if missing:
        skip("no program " + ", ".join(missing))


def in_own_mounts():
    """Runs this program again in a mount namespace of its own; there it only lets SIGTERM unwind the stack."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if os.environ.get("PLEACH_OWN_MOUNTS") == str(os.getpid()):
        return
    if os.geteuid() != 0:
        skip("file systems are mounted by root only")
    need("unshare", "mount", "umount")
    inside = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run(inside + ["true"], capture_output=True).returncode != 0:
        skip("no mount namespace of its own here")
    os.environ["PLEACH_OWN_MOUNTS"] = str(os.getpid())  # unshare becomes the program: same process
    os.execvp("unshare", inside + [sys.executable, *sys.argv])


@contextlib.contextmanager
def loop_device(size):
    """Yields the path of a block device of `size` bytes of zeros."""
    with tempfile.TemporaryFile() as image:
        image.truncate(size)
        path, fd = attach(image.fileno())
        try:
            yield path
        finally:
            os.close(fd)


def attach(image_fd):
    try:
        control = os.open("/dev/loop-control", os.O_RDWR)
    except OSError as e:
        skip("no loop devices: " + e.strerror)
    config = struct.pack("<II52xI176x64x", image_fd, 0, AUTOCLEAR)
    try:
        for _ in range(100):  # another process may be faster with the same number
            path = "/dev/loop%d" % fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            fd = os.open(path, os.O_RDWR)
            try:
                fcntl.ioctl(fd, LOOP_CONFIGURE, config)
                return path, fd
            except OSError as e:
                os.close(fd)
                if e.errno != errno.EBUSY:
                    raise
    except OSError as e:
        skip("no loop devices: " + e.strerror)
    finally:
        os.close(control)
    skip("no free loop device")


@contextlib.contextmanager
def mounted(kind, size, make=(), options=""):
    """Yields a folder with a fresh file system. REQUIRES: in_own_mounts() has returned."""
    need(MKFS[kind][0])
    with loop_device(size) as device, tempfile.TemporaryDirectory(prefix="pleach-" + kind + "-") as folder:
        made = subprocess.run([*MKFS[kind], *make, device], capture_output=True, text=True)
        if made.returncode != 0:
            sys.exit("%s: %s" % (" ".join(made.args), made.stderr.strip()))
        done = subprocess.run(["mount", "-t", kind, "-o", options or "defaults", device, folder], capture_output=True, text=True)
        if done.returncode != 0:
            skip("%s cannot be mounted: %s" % (kind, done.stderr.strip()))
        try:
            yield folder
        finally:
            unmount(folder)


def unmount(folder):
    if subprocess.run(["umount", folder], capture_output=True).returncode != 0:
        subprocess.run(["umount", "--lazy", folder])  # a process that was killed has not left yet
