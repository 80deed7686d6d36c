"""duel: real runs on the nano track, from a folder without shards to the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from speedrun import cli

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[1]
R02 = REPOSITORY / "tracks/nano/records/r02/train.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory; the first duel makes its shards, the next ones find them."""
    return tmp_path_factory.mktemp("duel")


def words(*given: str) -> list[str]:
    return ["duel", *given, "--track", "nano", "--repository", str(REPOSITORY)]


class Ended:
    """What a duel left: its exit code, its table and its product."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str], *given: str) -> None:
        os.chdir(place)
        with pytest.raises(SystemExit) as ended:
            cli.main(words(*given, "--out", "results/duel/this"))
        self.code, said = ended.value.code, capsys.readouterr()
        self.out, self.err = said.out, said.err
        self.json: dict[str, Any] = json.loads(Path("results/duel/this/duel.json").read_text())


@pytest.fixture
def duel(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(place)
    return lambda *given: Ended(place, capsys, *given)


def solution(folder: Path, *changes: tuple[str, str]) -> str:
    """Write record r02 with changes, as somebody's own folder."""
    code = R02.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(code, encoding="utf-8")
    return str(folder)


def test_a_faster_record_on_a_fresh_folder(duel: Any, place: Path) -> None:
    ended = duel("r01", "r02", "--rounds", "6")
    assert ended.code == 0 and ended.json["verdict"] == "faster"
    assert ended.json["time"]["high"] < 1 and ended.json["time"]["p"] < 0.05
    assert "verdict: faster: B takes" in ended.out and "p(<=3.25)" in ended.out
    assert "making results/shards/nano/meta.json with snakemake" in ended.err
    record = json.loads((place / "results/duel/this/duel.record.json").read_text())
    assert record["params"]["verdict"] == "faster"
    again = duel("r01", "r02", "--rounds", "6", "--json")
    assert "12 finished runs were reused" in again.err
    assert json.loads(again.out) == again.json == ended.json


def test_a_slower_record_and_a_regression_check(duel: Any) -> None:
    ended = duel("r02", "r01", "--rounds", "4")
    assert ended.code == 2 and ended.json["verdict"] == "slower"
    assert duel("r02", "r01", "--rounds", "4", "--no-worse", "20").code == 2


def test_a_record_against_itself_is_not_faster_and_no_worse(duel: Any) -> None:
    strict = ("--p-max", "0.001")  # equal programs differ at p < 0.05 in one duel of ten
    ended = duel("r02", "r02", "--rounds", "6", *strict)
    assert ended.code == 2 and ended.json["verdict"] == "not shown"
    assert "8 of 10 duels" in ended.out
    ended = duel("r02", "r02", "--rounds", "6", "--no-worse", "50")
    assert ended.code == 0 and ended.json["verdict"] == "no worse"
    assert "reused" in ended.err  # another question to the same runs


def test_a_print_that_is_too_low_is_invalid(duel: Any, tmp_path: Path) -> None:
    cheat = solution(tmp_path / "cheat", ("{val_loss:.4f}", "{0.9 * val_loss:.4f}"))
    ended = duel("r02", cheat, "--rounds", "6")
    assert ended.code == 3 and ended.json["verdict"] == "invalid"
    assert "too low" in ended.json["sentence"] and "TOO LOW A PRINT" in ended.out


def test_a_rule_that_is_broken_is_invalid_with_file_and_line(duel: Any, tmp_path: Path) -> None:
    cheat = solution(tmp_path / "cheat", ("import time\n", "import socket\nimport time\n"))
    ended = duel("r02", cheat, "--rounds", "2")
    assert ended.code == 3 and "B breaks a rule: train.py:4: network" in ended.json["sentence"]


def test_a_program_that_crashes_is_a_result_on_either_side(duel: Any, tmp_path: Path) -> None:
    broken = solution(
        tmp_path / "broken", ("def main() -> None:\n", "def main() -> None:\n    1 / 0\n")
    )
    ended = duel("r02", broken, "--rounds", "2")
    crash = "failed in round 1: candidate_error: exited with code 1: ZeroDivisionError: division by"
    assert ended.code == 3 and f"B {crash}" in ended.json["sentence"]
    ended = duel(broken, "r02", "--rounds", "2")
    assert ended.code == 3 and f"A {crash}" in ended.json["sentence"]


def test_killed_at_any_moment_at_most_a_run_is_lost(place: Path, duel: Any, tmp_path: Path) -> None:
    own = solution(tmp_path / "own", ("LEARNING_RATE = 0.02", "LEARNING_RATE = 0.021"))
    given = ("r02", own, "--rounds", "4", "--lanes", "1")
    before = set(place.glob("store/retimings/*/timing.json"))
    started = subprocess.Popen(
        [sys.executable, "-m", "speedrun", *words(*given)],
        cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while len(done := set(place.glob("store/retimings/*/timing.json")) - before) < 3:
        assert started.poll() is None
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()
    done |= set(place.glob("store/retimings/*/timing.json")) - before
    kept = {path: path.stat().st_mtime_ns for path in done}
    ended = duel(*given)
    assert f"{len(kept)} finished runs were reused" in ended.err and len(kept) < 8
    assert {path: path.stat().st_mtime_ns for path in done} == kept
    assert len(ended.json["runs"]) == 8 and ended.code in (0, 2)
