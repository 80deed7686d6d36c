"""The keeper of a run: what it ends when the harness fails or dies, and what it lets live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import make_spec, run_code, wait_for
from speedrun.files import SpeedrunError
from speedrun.runner import keeper, leash
from speedrun.runner.start import Command

TOKEN = "0123456789abcdef"
MARKED = {keeper.RUN_VARIABLE: TOKEN}
# Its first thread ends and another goes on: a zombie that runs, to who looks at the process alone.
HEADLESS = """
import ctypes, os, threading, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        threading.Thread(target=lambda: [open("alive", "a").write("x") or time.sleep(0.01)
                                         for _ in range(3000)]).start()
        time.sleep(0.1)
        ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
    os._exit(0)
os.wait()
time.sleep(0.5)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env={}) as process:
        yield process
        process.kill()


@pytest.fixture
def marked() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env=MARKED) as process:
        yield process
        process.kill()


def test_a_run_that_ends_has_nothing_killed(
    sleeper: subprocess.Popen[bytes], marked: subprocess.Popen[bytes]
) -> None:
    with leash.kept(TOKEN) as held:
        held.hold(sleeper.pid)
    assert (sleeper.poll(), marked.poll()) == (None, None)


def test_a_failure_ends_what_was_named_and_what_is_marked(
    sleeper: subprocess.Popen[bytes], marked: subprocess.Popen[bytes]
) -> None:
    """A sandbox's first process may have taken its mark off: it was named."""
    with subprocess.Popen(["sleep", "60"], env={keeper.RUN_VARIABLE: TOKEN + "0"}) as other:
        with pytest.raises(KeyboardInterrupt), leash.kept(TOKEN) as held:
            held.hold(sleeper.pid)
            raise KeyboardInterrupt
        assert sleeper.wait(10) == marked.wait(10) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_a_keeper_that_was_stopped_holds_up_no_run() -> None:
    with leash.kept(TOKEN) as held:
        os.kill(held._process.pid, signal.SIGSTOP)
    assert held._process.returncode == -signal.SIGKILL


def test_a_keeper_that_was_killed_fails_no_run() -> None:
    with leash.kept(TOKEN) as held:
        held._process.kill()
        held._process.wait()
        held.hold(os.getpid())
    assert held._process.returncode == -signal.SIGKILL


def test_a_keeper_does_not_carry_the_mark_of_a_run_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(keeper.RUN_VARIABLE, TOKEN)
    with leash.kept("another") as held:
        assert not keeper.marked(held._process.pid, TOKEN)


def test_a_keeper_that_cannot_start_is_our_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SpeedrunError, match=r"cannot start .*python beside the run"):
        leash.kept("").__enter__()


def test_a_process_whose_first_thread_has_ended_is_alive(tmp_path: Path) -> None:
    ended, _ = run_code(tmp_path, HEADLESS, make_spec(sandbox="none"))
    assert ended.reason == "exited"
    alive = tmp_path / "work" / "alive"
    size = alive.stat().st_size
    assert size > 10
    assert not wait_for(lambda: alive.stat().st_size > size, limit_s=0.3)


def test_a_containers_programs_are_given_the_mark_in_its_own_way() -> None:
    """It hands on only what bears its prefix, and takes that off (Apptainer's documentation)."""
    command = Command(["apptainer"], Path(), {}, False, started=Path("pipe"), token=TOKEN)
    assert leash.mark(command) == {
        f"{prefix}{keeper.RUN_VARIABLE}": TOKEN
        for prefix in ("", "APPTAINERENV_", "SINGULARITYENV_")
    }


def test_a_sandboxed_program_does_not_see_the_mark(tmp_path: Path) -> None:
    code = f"import os; print(os.environ.get({keeper.RUN_VARIABLE!r}))"
    _, lines = run_code(tmp_path, code)
    assert [line.line for line in lines] == ["None"]
