"""References in the workflow: shared by sweeps, kept apart by settings, frozen for a hardware."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import workflow_runs
from speedrun import cli
from workflow_runs import REPORT, planned, run

pytestmark = pytest.mark.dag

SIMULATED = ["hardware.trainer=simulated"]
TRAINED = {"train_reference", "analyze_reference"}


def jobs(folder: Path, target: str, sweep: str, *overrides: str) -> dict[str, int]:
    done = run(folder, "-n", target, sweep=sweep, overrides=[*SIMULATED, *overrides])
    assert done.returncode == 0, done.stderr[-2000:]
    return planned(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def referenced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the nano records' reference runs and nothing else of a sweep."""
    folder = tmp_path_factory.mktemp("referenced")
    done = run(folder, "-c2", "references", overrides=[*SIMULATED, "references.runs=3"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (folder / "results" / "trials").exists()
    return folder


def test_another_sweep_runs_no_reference_again(referenced: Path) -> None:
    page = REPORT.format(sweep="bench")
    assert not TRAINED & set(jobs(referenced, page, "bench"))
    assert not TRAINED & set(jobs(referenced, page, "bench", "+arms.again={coder: oracle}"))


def test_two_settings_never_take_turns_in_one_folder(referenced: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(referenced, folder, symlinks=True)
    other = [*SIMULATED, "hardware.timeout_s=61"]
    assert jobs(folder, "references", "nano", other[1])["train_reference"] == 3
    done = run(folder, "-c2", "references", overrides=other)
    assert done.returncode == 0, done.stderr[-3000:]
    keys = {path.parent.name for path in folder.glob("results/references/nano/cpu/r0?/*/run_0")}
    assert len(keys) == 2
    for overrides in ([], [other[1]]):
        assert not TRAINED & set(jobs(folder, "references", "nano", *overrides))


def test_a_frozen_list_is_obeyed_and_rescored_alone(
    referenced: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a copy of the repository, whose tracks/ the list is written to."""
    repository, folder = tmp_path / "repository", tmp_path / "work"
    repository.mkdir()
    for name in ("config", "workflow", "src", "hints", "replies"):
        (repository / name).symlink_to(workflow_runs.REPOSITORY / name)
    shutil.copy(workflow_runs.REPOSITORY / "Snakefile", repository)
    shutil.copytree(workflow_runs.REPOSITORY / "tracks/nano", repository / "tracks/nano")
    shutil.copytree(referenced, folder, symlinks=True)
    monkeypatch.setattr(workflow_runs, "REPOSITORY", repository)
    page = REPORT.format(sweep="nano")
    done = run(folder, "-c2", page, overrides=SIMULATED)
    assert done.returncode == 0, done.stderr[-3000:]
    words = ["references", "--track", "nano", "--hardware", "cpu", "--sweep", "nano", "--freeze"]
    words += ["--override", *SIMULATED, "--repository", str(repository)]
    monkeypatch.chdir(folder)
    assert cli.main(words) == 0, capsys.readouterr().err
    assert jobs(folder, page, "nano").keys() <= {"score", "report", "total"}
    done = run(folder, "-c2", page, overrides=SIMULATED)
    assert done.returncode == 0, done.stderr[-3000:]
    for task in ("r01-r02", "r02-r03"):
        scored = json.loads((folder / f"results/nano/score/nano/{task}.json").read_text())
        assert "in tracks/nano/measurable/cpu.yaml" in scored["measurable"]["origin"]
    assert "Nothing to be done" in "".join(
        (again := run(folder, "-n", page, overrides=SIMULATED)).stdout + again.stderr
    )
