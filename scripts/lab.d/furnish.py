"""Furnishes the client's mount namespace: furnish.py CONF CLIENTS BUILT.

Covers /run with an empty tmpfs, so that no nscd, avahi or resolved of the host is found, shows the
three folders there as /run/conf, /run/lab and /run/bin, and lays CONF's resolv.conf, nsswitch.conf
and hosts over those in /etc. It calls mount(2) itself because mount(8) insists on uid 0, which the
holder of a user namespace need not have. Nobody outside this namespace sees any of it.
"""
import ctypes
import os
import sys

MS_BIND = 4096  # mount(2), <linux/mount.h>
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0, data=None):
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    if LIBC.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def main():
    folders = [os.open(path, os.O_PATH) for path in sys.argv[1:4]]  # they may lie under /run
    # The host's own resolv.conf may be a link into /run, which is about to be covered.
    link = os.path.realpath("/etc/resolv.conf")
    mount("lab", "/run", "tmpfs", data="mode=0755")
    for name in ("home", "lock", "nscd"):
        os.mkdir("/run/" + name)
    for folder, name in zip(folders, ("conf", "lab", "bin")):
        os.mkdir("/run/" + name)
        mount("/proc/self/fd/%d" % folder, "/run/" + name, flags=MS_BIND)
    if link.startswith("/run/") and not os.path.exists(link):
        os.makedirs(os.path.dirname(link), exist_ok=True)
        open(link, "w").close()
    for name in ("resolv.conf", "nsswitch.conf", "hosts"):
        mount("/run/conf/" + name, "/etc/" + name, flags=MS_BIND)


if __name__ == "__main__":
    main()
