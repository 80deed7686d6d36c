"""The system calls that a sandbox refuses: those that lead past its namespaces and its caps.

Keyrings belong to a user and outlive the sandbox, so that one node could leave a note there for the
next, or read a key of the user's. System V's shared memory is in no process's resident size. Queues
of inotify are few a user (128), and a run that took them all would blind us to the opens of those
beside it. Other architectures' calls are refused whole, since their numbers differ. See seccomp(2).
"""

from __future__ import annotations

import errno
import platform
import struct

# By machine: AUDIT_ARCH of linux/audit.h; add_key, request_key, keyctl and shmget of asm/unistd.h.
CALLS = {
    "x86_64": (0xC000003E, (248, 249, 250, 29)),
    "aarch64": (0xC00000B7, (217, 218, 219, 194)),
}
# inotify_init and inotify_init1; coding agents keep them, because tools follow files by them.
WATCHES = {"x86_64": (253, 294), "aarch64": (26,)}
X32 = 0x40000000  # from here on they are x86_64's own second set
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of linux/bpf_common.h
NUMBER, ARCH = 0, 4  # where the filter finds them
ALLOWED, REFUSED = 0x7FFF0000, 0x00050000 | errno.EPERM


def program(machine: str = platform.machine(), watches: bool = True) -> bytes:
    """Return the filter as bubblewrap takes it; empty for a machine whose numbers are not known.

    ``watches``: the code may watch files itself, which one whose data we watch may not.
    """
    if machine not in CALLS:
        return b""
    arch, calls = CALLS[machine]
    refused = [*calls, *(() if watches else WATCHES[machine])]
    tests = [(AT_LEAST, X32), *((EQUAL, number) for number in refused)]
    # A jump is counted from the next instruction; the last one refuses.
    left = range(len(tests), 0, -1)
    jumps = [_line(kind, value, far) for (kind, value), far in zip(tests, left, strict=True)]
    known = [_line(LOAD, ARCH), _line(EQUAL, arch, 1), _line(RETURN, REFUSED)]
    ends = [_line(RETURN, ALLOWED), _line(RETURN, REFUSED)]
    return b"".join([*known, _line(LOAD, NUMBER), *jumps, *ends])


def _line(code: int, value: int, if_true: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, 0, value)
