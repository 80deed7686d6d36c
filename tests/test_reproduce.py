"""reproduce: an idea, a script and a model on the loopback device; a measured speedup comes out."""

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

from model_server import KEY, ModelServer
from speedrun import cli

REPOSITORY = Path(__file__).resolve().parents[1]
RECORDS = REPOSITORY / "tracks/nano/records"
HINT = "Adam replaces plain SGD: its per-weight step lets rare rows move as fast as frequent ones."


def whole(code: str) -> str:
    """Return a reply that replaces the script."""
    return f"Faster.\n\n### FILE: train.py\n```python\n{code}\n```\n"


FASTER = whole((RECORDS / "r02/train.py").read_text(encoding="utf-8").rstrip("\n"))
BROKEN = whole("raise SystemExit('no idea')")
UNREADABLE = "I would use Adam."


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduce")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.py").write_text((RECORDS / "r01/train.py").read_text(encoding="utf-8"))
    (folder.parent / "idea.md").write_text(HINT)
    return folder


def words(code: Path, server: ModelServer, *more: str) -> list[str]:
    """Return the command line."""
    found = ["reproduce", "--code", str(code), "--hints", str(code.parent / "idea.md")]
    found += ["--track", "nano", "--repository", str(REPOSITORY), "--coder", "direct"]
    found += ["--model", "ollama", "--set", f"+models.ollama.base_url={server.url}"]
    return [*found, "--rounds", "4", *more]


def run(place: Path, code: Path, server: ModelServer, *more: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and reproduce.json."""
    os.chdir(place)
    try:
        ended = cli.main(words(code, server, *more))
    except SystemExit as stopped:
        ended = int(str(stopped.code))
    found = sorted(place.glob("results/reproduce/*/reproduce.json"), key=os.path.getmtime)
    return ended, json.loads(found[-1].read_text()) if found else {}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)


@pytest.mark.slow
def test_a_good_reply_becomes_a_speedup_with_its_p(
    place: Path, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelServer([BROKEN, FASTER]) as server:
        ended, result = run(place, code, server, "--nodes", "2")
        assert ended == 0 and result["verdict"] == "faster" and result["winner"] == 2
        assert [row["outcome"] for row in result["nodes"]] == ["candidate_error", "ok"]
        said = capsys.readouterr().out
        assert "speedup 1." in said or "speedup 2." in said
        assert HINT in server.prompts[0] and len(server.requests) == 2
        # The same command: nothing is asked, trained or timed again.
        again, same = run(place, code, server, "--nodes", "2")
        assert again == 0 and same == result and len(server.requests) == 2
        assert "finished runs were reused" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_between_two_nodes_no_reply_is_asked_for_again(place: Path, code: Path) -> None:
    (code.parent / "idea.md").write_text("An idea that is interrupted.")
    pattern = "results/reproduce/*/trials/*/s0/node_1/generate.record.json"
    before = set(place.glob(pattern))
    with ModelServer([BROKEN, FASTER]) as server:
        started = subprocess.Popen(
            [sys.executable, "-m", "speedrun", *words(code, server, "--nodes", "2")],
            cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while set(place.glob(pattern)) == before:
            assert started.poll() is None
            time.sleep(0.05)
        started.send_signal(signal.SIGKILL)
        started.wait()
        ended, result = run(place, code, server, "--nodes", "2")
    assert ended == 0 and result["winner"] == 2
    assert len(server.requests) == 2


@pytest.mark.slow
def test_without_a_node_that_reaches_the_target_nothing_is_shown(
    place: Path, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code.parent / "idea.md").write_text("Another idea: give up.")
    with ModelServer([BROKEN, UNREADABLE, UNREADABLE]) as server:
        ended, result = run(place, code, server, "--nodes", "2")
    assert ended == 2 and result["verdict"] == "not shown" and result["duel"] is None
    assert [row["outcome"] for row in result["nodes"]] == ["candidate_error", "candidate_error"]
    assert "none of 2 nodes reached the target loss" in capsys.readouterr().out


@pytest.mark.slow
def test_a_node_that_breaks_a_rule_is_no_winner(place: Path, code: Path) -> None:
    (code.parent / "idea.md").write_text("A third idea: ask elsewhere.")
    with ModelServer(FASTER.replace("import time\n", "import socket\nimport time\n")) as server:
        ended, result = run(place, code, server, "--nodes", "1")
    assert ended == 2 and result["nodes"][0]["outcome"] == "rule_violation"
    assert "network" in result["nodes"][0]["reason"]


@pytest.mark.slow
def test_a_cap_stops_the_search_and_a_higher_one_goes_on(
    place: Path, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code.parent / "idea.md").write_text("A fourth idea.")
    with ModelServer(FASTER) as server:
        cap = ("--set", "budget.sweep.device_hours=0.0001")
        ended, _ = run(place, code, server, "--nodes", "1", *cap)
        assert ended == 1 and not server.requests
        assert "budget.sweep.device_hours" in capsys.readouterr().err
        ended, result = run(place, code, server, "--nodes", "1")
        assert ended == 0 and result["verdict"] == "faster"


@pytest.mark.slow
def test_code_that_fails_by_itself_is_one_line(
    place: Path, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code / "train.py").write_text("1 / 0\n")
    with ModelServer(FASTER) as server:
        ended, _ = run(place, code, server)
        assert ended == 1 and not server.requests
    assert "the given code itself fails (candidate_error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--coder", "oracle", "--model", "none"], "needs a target record"),
        (["--model", "none"], "with reproduce as --model NAME"),
        (["--nodes", "0"], "--nodes must be 1 or more"),
        (["--scaffold", "trees"], "nearest is 'tree'"),
        (["--hints", "/dev/null"], "is empty"),
        (["--code", "/nowhere"], "neither a folder nor a record"),
    ],
)
def test_what_cannot_be_run_is_refused_with_exit_code_1(
    more: list[str], said: str, place: Path, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelServer() as server:
        ended, _ = run(place, code, server, *more)
    assert ended == 1 and said in capsys.readouterr().err
