"""plan: what the verb says in words and as JSON, and how it refuses a wrong word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from estimate_sweeps import LOADED, loader
from speedrun.cli import main


@pytest.fixture
def load(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LOADED:
    """Load a sweep, in a working directory where nothing has been measured."""
    monkeypatch.chdir(tmp_path)
    return loader(repository)


def said(capsys: pytest.CaptureFixture[str], repository: Path, *words: str) -> str:
    assert main(["plan", *words, "--repository", str(repository)]) == 0
    return capsys.readouterr().out


def test_the_verb_says_it_in_words(
    load: LOADED, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, repository, "sweep=paper_main", "budget.sweep.usd=500")
    for part in (
        "6,840 trials = 19 tasks x 120 arms x 3 seeds, 136,800 nodes",
        "run cells, as",
        "snakemake trials --config sweep=paper_main",
        "GPU hours",
        "published x slowdown 1",
        "o3_mini",
        "budget a sweep: usd 500, tokens no cap, device_hours no cap",
        "USD 500.00",
    ):
        assert part in text
    small = said(capsys, repository, "sweep=nano", "seeds=[0,1]")
    assert "12 trials = 2 tasks x 3 arms x 2 seeds" in small
    assert "run cells" not in small and "models" not in small and "CPU hours" in small


def test_the_verb_writes_json(
    load: LOADED, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(said(capsys, repository, "sweep=nano", "--json"))
    assert found["trials"] == 6 and found["jobs"]["train"] == 8
    assert set(found["device_hours"]) == {"nodes", "preflight", "references", "audit"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nano"], "'nano' is no key=value: write speedrun plan sweep=nano"),
        (["sweep=nan"], "unknown sweep 'nan'; nearest is 'nano'"),
        (["sweep=nano", "sceds=[1]"], "unknown key 'sceds'; nearest is 'seeds'"),
        (["sweep=nano", "+arms.x={coder: tuner, hints: l2}"], "l2 of task nano/r01-r02 is missing"),
    ],
)
def test_a_wrong_word_is_one_line(
    load: LOADED,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main(["plan", *words, "--repository", str(repository)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_outside_a_repository_it_says_where_to_go(
    load: LOADED, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "sweep=nano"]) == 1
    assert "no config/ in .: go there, or give --repository" in capsys.readouterr().err


def test_a_pager_may_be_closed_early(repository: Path) -> None:
    words = [sys.executable, "-m", "speedrun", "plan", "sweep=nano", "--repository", repository]
    asked = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asked.stdout is not None and asked.stderr is not None
    asked.stdout.close()
    complaint = asked.stderr.read()
    asked.stderr.close()
    assert (asked.wait(), complaint) == (0, b"")
