"""Bombs in the real sandbox: each is stopped with its own reason, and nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from running import PROTOCOL, make_spec, run_code
from speedrun.runner import cgroup, clock
from speedrun.schema import RunExit

MB = 2**20
ANONYMOUS = f"import time\nkept = [bytearray({MB}) for _ in range(300)]\ntime.sleep(30)"
SHARED = f"""
import mmap, time
kept = mmap.mmap(-1, 300 * {MB})
for at in range(0, len(kept), 4096): kept[at] = 1
time.sleep(30)
"""
CHILDREN = f"""
import os, time
for _ in range(6):
    if os.fork() == 0:
        kept = os.urandom(50 * {MB}); time.sleep(30)
time.sleep(30)
"""
MEMFD = f"""
import os, time
handle = os.memfd_create('kept')
try:
    for _ in range(300): os.write(handle, bytes({MB}))
except OSError: os.memfd_create('next')
kept = [os.memfd_create(str(n)) for n in range(300)]
for handle in kept: os.write(handle, bytes({MB}))
time.sleep(30)
"""
SCRATCH = f"""
import os
import subprocess
import sys
total = 0
for folder in ('/tmp', '/dev/shm'):
    try:
        for n in range(300):
            with open(f'{{folder}}/{{n}}', 'wb') as file: total += file.write(bytes({MB}))
    except OSError as error: print(error.strerror)
print(total // {MB} <= 8)
"""
FORKS = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
THREADS = """
import threading, time
for _ in range(200): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
print(threading.active_count())
"""


def flood(folder: Path, code: str, **changes: object) -> tuple[RunExit, list[str]]:
    """Run a bomb; whatever it was, nothing of it may live."""
    ended, lines = run_code(folder, code, make_spec(**{"memory_mb": 150, **changes}))
    assert not [pid for pid in clock.children([os.getpid()]) if inside(pid, folder)]
    return ended, [line.line for line in lines]


def inside(pid: int, folder: Path) -> bool:
    try:
        return str(folder) in os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False


@pytest.mark.parametrize("code", [ANONYMOUS, SHARED, CHILDREN], ids=["own", "shared", "children"])
def test_memory_bomb(tmp_path: Path, code: str) -> None:
    ended, _ = flood(tmp_path, code)
    assert ended.reason == "oom"
    assert ended.peak_rss_mb is not None
    assert ended.peak_rss_mb > 150


def test_memory_without_a_mapping_counts_as_files(tmp_path: Path) -> None:
    assert flood(tmp_path, MEMFD, disk_mb=20)[0].reason == "disk_flood"


def test_folders_in_memory_are_small(tmp_path: Path) -> None:
    ended, lines = flood(tmp_path, SCRATCH)
    assert (ended.reason, lines) == ("exited", ["No space left on device"] * 2 + ["True"])


def test_fork_bomb(tmp_path: Path) -> None:
    assert flood(tmp_path, FORKS, memory_mb=4000)[0].reason == "process_flood"


def test_threads_are_no_processes_but_end_with_theirs(tmp_path: Path) -> None:
    assert flood(tmp_path, THREADS, memory_mb=1000)[1] == ["201"]


def test_protocol_flood_is_bounded_too(tmp_path: Path) -> None:
    """Each of these lines would be stamped freshly, which costs the harness a look."""
    code = f"while True: print({PROTOCOL!r})"
    ended, _ = flood(tmp_path, code, output_mb=1)
    assert (ended.reason, ended.output_truncated) == ("output_flood", True)
    assert (tmp_path / "log.jsonl").stat().st_size < 4 * MB


def test_a_line_without_end_is_bounded_in_memory(tmp_path: Path) -> None:
    code = "import os\nwhile True: os.write(1, b'x' * 65536)"
    assert flood(tmp_path, code, output_mb=2)[0].reason == "output_flood"


def test_a_stopped_run_times_out(tmp_path: Path) -> None:
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    assert flood(tmp_path, code, timeout_s=0.5)[0].reason == "timeout"


def test_ignored_signals_do_not_keep_a_run_alive(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: os.setsid(); os.fork()\n"
        "time.sleep(60)\n"
    )
    assert (
        flood(tmp_path, code, timeout_s=0.7, processes=200, memory_mb=4000)[0].reason == "timeout"
    )


def test_nothing_of_many_runs_stays_with_the_harness(tmp_path: Path) -> None:
    """No descriptor, no child, no thread: a sweep makes thousands of runs in one process."""

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    run_code(tmp_path, "print('x')")
    before = held()
    for code in ("print('x')", FORKS, "raise SystemExit(1)"):
        run_code(tmp_path, code, make_spec(timeout_s=1.0, processes=5))
    assert held() == before
    assert not [pid for pid in clock.children([os.getpid()]) if inside(pid, tmp_path)]


def test_root_is_held_by_the_kernel_too(tmp_path: Path) -> None:
    """No look of ours comes between: the fork itself is refused."""
    with cgroup.capped(20) as group:
        if group is None:
            pytest.skip("not root, or no pids controller to write to")
        code = (
            "import os, signal, sys\n"
            "open(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
            "made = []\n"
            "try:\n"
            "    while len(made) < 100:\n"
            "        child = os.fork()\n"
            "        if child == 0: signal.pause()\n"
            "        made.append(child)\n"
            "except BlockingIOError:\n"
            "    pass\n"
            "[os.kill(child, 9) or os.waitpid(child, 0) for child in made]\n"
            "print(len(made))\n"
        )
        command = [sys.executable, "-S", "-c", code, str(group)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(found.stdout) == 19
    assert not group.exists()
