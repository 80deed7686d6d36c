"""The runner's caps, and that it leaves no process behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from running import BURN, PROTOCOL, SOURCE, gone, make_spec, run_code, text_of, wait_for
from speedrun.runner import clock


def test_pinning_moves_the_tree_to_one_core(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    _, lines = run_code(tmp_path, "import os; print(os.sched_getaffinity(0))", cpu=core)
    assert text_of(lines) == [str({core})]


@pytest.mark.parametrize(
    ("code", "code_seen", "signal_seen"),
    [
        ("raise SystemExit(3)", 3, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, signal.SIGTERM),
        ("raise SystemExit(137)", 137, signal.SIGKILL),
    ],
)
def test_exit_is_told_from_signal(
    tmp_path: Path, code: str, code_seen: int, signal_seen: int | None
) -> None:
    ended, _ = run_code(tmp_path, code)
    assert (ended.reason, ended.exit_code, ended.signal) == ("exited", code_seen, signal_seen)


def test_garbage_without_an_end_of_line_is_kept(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.buffer.write(b'\\x00\\xff\\nend'); sys.stderr.write('!')"
    ended, lines = run_code(tmp_path, code)
    assert sorted(text_of(lines)) in (["\0\N{REPLACEMENT CHARACTER}", "end!"], ["\0\ufffd", "!end"])
    assert ended.output_bytes == 7


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_timeout_ends_a_hanging_run(tmp_path: Path, kind: str) -> None:
    code = "import time\nprint('started')\ntime.sleep(60)"
    ended, lines = run_code(tmp_path, code, make_spec(timeout_s=0.5, sandbox=kind))
    assert (ended.reason, text_of(lines)) == ("timeout", ["started"])
    assert ended.wall_s is not None
    assert 0.5 <= ended.wall_s < 10


def test_run_that_closes_its_output_is_still_watched(tmp_path: Path) -> None:
    code = "import os, time\nos.close(1); os.close(2)\ntime.sleep(60)"
    ended, _ = run_code(tmp_path, code, make_spec(timeout_s=0.5))
    assert ended.reason == "timeout"


def test_memory_cap(tmp_path: Path) -> None:
    code = "import time\nkept = [bytearray(2**20) for _ in range(150)]\ntime.sleep(60)"
    ended, _ = run_code(tmp_path, code, make_spec(memory_mb=100))
    assert ended.reason == "oom"
    assert ended.peak_rss_mb is not None
    assert 100 < ended.peak_rss_mb < 250


@pytest.mark.parametrize(("used_mb", "reason"), [(140, "oom"), (10, "exited")])
@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_kill_from_outside_is_for_memory_near_the_cap(
    tmp_path: Path, kind: str, used_mb: int, reason: str
) -> None:
    code = (
        f"import os, signal, time\nkept = b'x' * ({used_mb} * 2**20)\ntime.sleep(0.3)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended, _ = run_code(tmp_path, code, make_spec(memory_mb=160, sandbox=kind))
    assert (ended.reason, ended.signal) == (reason, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
@pytest.mark.parametrize(
    "write",
    [
        "open(f'{n}', 'wb').write(bytes(2**20))",
        "os.makedirs(f'a/{n}'); open(f'a/{n}/{n}', 'wb').write(bytes(2**20))",
        "open(f'{n}', 'wb')",  # empty: each uses up an inode
        "kept.append(open('x', 'wb')); kept[-1].write(bytes(2**20)); os.remove('x')",
    ],
)
def test_disk_cap_is_on_all_files_together(tmp_path: Path, kind: str, write: str) -> None:
    code = (
        "import os, time\nkept = []\n"
        f"for n in range(30 if '2**20' in {write!r} else 6000):\n    {write}\ntime.sleep(15)"
    )
    ended, _ = run_code(tmp_path, code, make_spec(disk_mb=20, file_mb=4, sandbox=kind))
    assert (ended.reason, ended.exit_code) == ("disk_flood", None)
    assert ended.wall_s is not None
    assert ended.wall_s < 10


def test_run_that_replaces_its_files_stays_below_the_disk_cap(tmp_path: Path) -> None:
    code = (
        "import os, time\nend = time.monotonic() + 1.5\nn = 0\n"
        "while time.monotonic() < end:\n"
        "    n += 1; open('new', 'wb').write(bytes(2**20)); os.replace('new', 'kept')\n"
        "    os.truncate('kept', 2**20 * 3); time.sleep(0.01)\n"  # a hole takes no space
        "print(n > 20)"
    )
    ended, lines = run_code(tmp_path, code, make_spec(disk_mb=5))
    assert (ended.reason, text_of(lines)) == ("exited", ["True"])


def test_protocol_lines_do_not_keep_the_caps_from_being_looked_at(tmp_path: Path) -> None:
    code = f"import time\nfor _ in range(300): print({PROTOCOL!r}); time.sleep(0.02)"
    ended, _ = run_code(tmp_path, code, make_spec(timeout_s=0.5))
    assert ended.reason == "timeout"
    assert ended.wall_s is not None
    assert ended.wall_s < 5


def test_process_cap(tmp_path: Path) -> None:
    code = (
        "import os, time\nwhile len(os.listdir('/proc')) < 200 and os.fork(): pass\ntime.sleep(60)"
    )
    ended, _ = run_code(tmp_path, code, make_spec(processes=10))
    assert ended.reason == "process_flood"


@pytest.mark.parametrize("chunk", ["'x' * 2**20", "'x\\n' * 2**19", "'\\n' * 2**20"])
def test_gigabyte_of_output_ends_quickly_and_small(tmp_path: Path, chunk: str) -> None:
    code = f"import sys\nfor _ in range(1024): sys.stdout.write({chunk})"
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ended, _ = run_code(tmp_path, code, make_spec(output_mb=1))
    assert (ended.reason, ended.output_truncated) == ("output_flood", True)
    assert ended.wall_s is not None
    assert ended.wall_s < 20
    assert (tmp_path / "log.jsonl").stat().st_size < 3 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 < before_mb + 50


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_daemon_is_dead_after_the_run_and_counted(tmp_path: Path, kind: str) -> None:
    code = BURN + (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        burn(0.3)\n"
        "        while True: open('alive', 'a').write('.'); time.sleep(0.01)\n"
        "    os._exit(0)\n"
        "while not os.path.exists('alive') or not os.path.getsize('alive'): time.sleep(0.02)\n"
    )
    ended, _ = run_code(tmp_path, code, make_spec(sandbox=kind))
    assert ended.reason == "exited"
    assert ended.cpu_total_s is not None
    assert ended.cpu_total_s >= 0.28  # 0.3, but for the grain of two clocks
    size = (tmp_path / "work" / "alive").stat().st_size
    time.sleep(0.1)
    assert (tmp_path / "work" / "alive").stat().st_size == size > 0
    assert not [pid for pid in clock.children([os.getpid()]) if _runs_in(pid, tmp_path)]


def _runs_in(pid: int, folder: Path) -> bool:
    try:
        return str(folder) in os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False


HARNESS = """
import os, sys
from pathlib import Path
sys.path[:0] = [{source!r}, {tests!r}]
from running import make_spec, run_code
Path({folder!r}, "harness").write_text(str(os.getpid()))
code = "import time; open('up', 'w').write('x'); time.sleep(60)"
run_code(Path({folder!r}), code, make_spec(sandbox={kind!r}))
Path({folder!r}, "finished").write_text("x")
"""


def _harness(folder: Path, kind: str) -> list[str]:
    code = HARNESS.format(
        source=str(SOURCE), tests=str(Path(__file__).parent), folder=str(folder), kind=kind
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_killed_harness_takes_its_tree_along(tmp_path: Path, kind: str) -> None:
    harness = subprocess.Popen(_harness(tmp_path, kind))
    assert wait_for((tmp_path / "work" / "up").exists)
    tree = [process.pid for process in clock.TreeClock(harness.pid).sample().processes]
    assert len(tree) == {"bubblewrap": 5, "none": 3}[kind]  # two are bubblewrap, one the keeper
    harness.kill()
    harness.wait()
    assert wait_for(lambda: all(gone(pid) for pid in tree))


def test_run_ends_with_its_workflow(tmp_path: Path) -> None:
    code = "import os, subprocess, sys\nos.environ['SPEEDRUN_WORKFLOW_PID'] = str(os.getpid())\n"
    code += "subprocess.run(sys.argv[1:], stderr=open(os.devnull, 'w'))"
    workflow = subprocess.Popen([sys.executable, "-c", code, *_harness(tmp_path, "bubblewrap")])
    assert wait_for((tmp_path / "work" / "up").exists)
    tree = [process.pid for process in clock.TreeClock(workflow.pid).sample().processes]
    workflow.kill()
    workflow.wait()
    assert wait_for(lambda: all(gone(pid) for pid in tree))
    assert not (tmp_path / "finished").exists()
