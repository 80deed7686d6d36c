"""Class N: a library of its own, loaded before all others, that slows the clock."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .candidate import attack, edit
from .places import ENTRY

SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *time) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(which, time);
    if (which == CLOCK_PROCESS_CPUTIME_ID) {
        long long ns = (time->tv_sec * 1000000000LL + time->tv_nsec) * 6 / 10;
        time->tv_sec = ns / 1000000000LL;
        time->tv_nsec = ns % 1000000000LL;
    }
    return failed;
}
"""


def compile_clock(solution: Path, shards: Path) -> None:
    """Compile the library; where there is no compiler the loader finds nothing and goes on."""
    del shards
    compiler = shutil.which("cc")
    if compiler:
        command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(solution / "clock.so")]
        subprocess.run([*command, "-ldl"], input=SOURCE, text=True, check=True, timeout=60)


@attack("N B", prepare=compile_clock)
def preloads(text: str) -> str:
    """Starts itself again under LD_PRELOAD, with a library that lets the clock run at 60 %."""
    again = (
        ENTRY
        + "    import sys\n\n"
        + '    if "LD_PRELOAD" not in os.environ:\n'
        + '        os.execve(sys.executable, [sys.executable, "train.py"],\n'
        + '                  dict(os.environ, LD_PRELOAD="./clock.so"))\n'
    )
    return edit(text, (ENTRY, again))
