"""A harness that is killed, a sandbox that breaks: nothing is left, nothing runs without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from running import SOURCE, gone, wait_for
from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.runner import clock, disk, keeper, sandbox
from speedrun.schema import RunExit
from train_bench import LINE, SPEC, Bench

HARNESS = """
import json, sys
from pathlib import Path
from speedrun import schema
from speedrun.stages import train
here, spec = Path(sys.argv[1]), schema.from_dict(schema.TrainSpec, json.loads(sys.argv[2]))
train.train(here / "solution", "train.py", here / "public", here / "contexts.npy", here / "run",
            spec, 1)
"""
DAEMON = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: open('alive', 'a').write('.'); time.sleep(0.01)
    os._exit(0)
os.wait()
print({LINE!r}, flush=True)
time.sleep(WAIT)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def start(bench: Bench, kind: str) -> subprocess.Popen[bytes]:
    spec = json.dumps({**schema.to_dict(SPEC), "sandbox": kind})
    return subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(bench.folder), spec],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def left(places: Path) -> list[Path]:
    return list(places.glob(f"{disk.PREFIX}*"))


def alive_files(places: Path) -> list[Path]:
    return list(places.glob("*/*/alive"))


@pytest.mark.parametrize("when", ["running", "starting"])
def test_a_killed_harness_leaves_no_orphan_and_the_next_run_goes_on(
    bench: Bench, places: Path, when: str
) -> None:
    (bench.solution / "train.py").write_text(DAEMON.replace("WAIT", "60"))
    harness = start(bench, "bubblewrap")
    ready = alive_files if when == "running" else left
    assert wait_for(lambda: ready(places))
    tree = [process.pid for process in clock.TreeClock(harness.pid).sample().processes]
    harness.kill()
    harness.wait()
    assert wait_for(lambda: all(gone(pid) for pid in tree))
    sizes = [path.stat().st_size for path in alive_files(places)]
    time.sleep(0.2)  # the daemon, which nobody had seen yet, would write meanwhile
    assert [path.stat().st_size for path in alive_files(places)] == sizes
    assert not (bench.out / "exit.json").exists()
    assert len(left(places)) == 1  # a SIGKILL leaves no time to tidy up
    ended = bench.train(DAEMON.replace("WAIT", "0"))
    assert (ended.reason, ended.exit_code, bench.lines()[-1]) == ("exited", 0, LINE)
    assert left(places) == []


def token(harness: int) -> str:
    """Return the mark of a harness's run once the run's first process is there."""
    lines = {pid: cmdline(pid).split(b"\0")[:-1] for pid in clock.children([harness])}
    found = [words[-1].decode() for words in lines.values() if keeper.__file__.encode() in words]
    return next((one for one in found if any(keeper.marked(pid, one) for pid in lines)), "")


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(mark: str) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if keeper.marked(pid, mark)]


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_nothing_outlives_a_harness_that_is_killed_while_a_run_starts(
    bench: Bench, places: Path, kind: str
) -> None:
    """Bubblewrap binds a sandbox to itself after some 5 ms; without it nothing binds a daemon."""
    (bench.solution / "train.py").write_text(DAEMON.replace("WAIT", "60"))
    for moment_ms in (0, 1, 2, 3, 4, 6, 200):
        harness = start(bench, kind)
        assert wait_for(lambda pid=harness.pid: token(pid))
        mark = token(harness.pid)
        time.sleep(moment_ms / 1000)
        harness.kill()
        harness.wait()
        assert wait_for(lambda mark=mark: not alive(mark)), moment_ms
    sizes = [path.stat().st_size for path in alive_files(places)]
    time.sleep(0.2)
    assert [path.stat().st_size for path in alive_files(places)] == sizes


def test_only_what_nobody_uses_is_swept(places: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    (places / f"{disk.PREFIX}link").symlink_to(tmp_path)
    (places / f"{disk.PREFIX}file").touch()
    stranger = places / f"{disk.PREFIX}stranger"
    stranger.mkdir()
    if os.getuid() == 0:
        os.chown(stranger, 65534, 65534)
    with disk.own_folder() as first, disk.own_folder() as second:
        assert first.is_dir() and second.is_dir()
        (first / "work").mkdir()
    assert not first.exists() and not second.exists()
    assert (tmp_path / "mine").exists()
    assert stranger.exists() == (os.getuid() == 0)


def test_a_harness_told_to_end_takes_everything_along(bench: Bench, places: Path) -> None:
    (bench.solution / "train.py").write_text(DAEMON.replace("WAIT", "60"))
    harness = start(bench, "bubblewrap")
    assert wait_for(lambda: alive_files(places))
    tree = [process.pid for process in clock.TreeClock(harness.pid).sample().processes]
    harness.terminate()
    harness.wait()
    assert wait_for(lambda: all(gone(pid) for pid in tree))


BROKEN = "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n"


@pytest.mark.parametrize("how", ["fails", "is gone", "is not executable", "is another program"])
def test_a_sandbox_that_breaks_between_plan_and_run_runs_nothing(
    bench: Bench, places: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Proven to start when it was looked for, broken when it was used: never a run without."""
    bwrap = bench.folder / "bwrap"
    if how != "is gone":
        bwrap.write_text({"is another program": "#!/bin/sh\nexit 0\n"}.get(how, BROKEN))
        bwrap.chmod(0o644 if how == "is not executable" else 0o755)
    monkeypatch.setattr(sandbox, "find_bwrap", lambda: str(bwrap))
    monkeypatch.setattr(sandbox, "no_namespaces_inside", lambda bwrap: ["--disable-userns"])
    marker = bench.folder / "ran"
    with pytest.raises(SpeedrunError, match=r"before the run|cannot start"):
        bench.train(f"open({str(marker)!r}, 'w')")
    assert not marker.exists()
    assert not (bench.out / "exit.json").exists()
    assert left(places) == []


def test_a_mount_that_fails_is_our_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a shard vanishes, or its file system, after it was checked."""
    really = sandbox.wrap

    def wrap(*given: object) -> list[str]:
        words = really(*given)  # type: ignore[arg-type]
        return [*words, "--ro-bind", "/no/such/shard", "/mnt"]

    monkeypatch.setattr(sandbox, "wrap", wrap)
    with pytest.raises(SpeedrunError, match=r"before the run: bwrap: .*/no/such/shard"):
        bench.train("print('x')")


def test_only_the_explicit_word_runs_code_without_a_sandbox(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find() -> str:
        raise SpeedrunError("bubblewrap is missing")

    monkeypatch.setattr(sandbox, "find_bwrap", find)
    for kind in ("bubblewrap", "", "None", "off"):
        with pytest.raises(SpeedrunError, match="bubblewrap"):
            bench.train("print('x')", sandbox=kind)
    ended = bench.train("print('x')", sandbox="none")
    assert schema.load(RunExit, bench.out / "exit.json").sandbox == ended.sandbox == "none"
