"""Chains through Snakemake, with a model on a loopback server."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import workflow_runs
from model_server import ModelServer
from served_arms import ALONE, SIMULATED, arm, at, succeed, trial, whole
from speedrun import files, schema
from speedrun.runner import log, protocol, simulated
from speedrun.schema import Analysis, Outcome, Parent, TrainSpec
from workflow_runs import REPORT, run

pytestmark = [pytest.mark.dag, pytest.mark.slow]

TARGET = 3.25  # config/track/nano.yaml
SLOW_S = 19.0  # slower than the simulated records: something is left to gain from it
TASKS = ("r01-r02", "r02-r03", "r03-r01")  # the fixture's records, made a chain of three tasks


def simulate(text: str, folder: Path) -> tuple[bool, float]:
    """Return whether a solution of one file reaches the simulated target, and its seconds."""
    files.write_tree(folder / "solution", {"train.py": text})
    spec = TrainSpec(9, 9, 9, 9, 9, 1, "none", environment={"SIMULATED_TARGET": str(TARGET)})
    ended = simulated.run(files.digest_tree(folder / "solution"), 0, spec, folder / "log.jsonl")
    *_, last = (protocol.parse(line.line) for line in log.read(folder / "log.jsonl"))
    assert last is not None and ended.cpu_s is not None
    return last.val_loss <= TARGET, ended.cpu_s


def code(name: str, reached: bool, least_s: float, folder: Path) -> str:
    """Return a script called ``name`` that ends as wanted in the simulation."""
    texts = (f"print('{name} {number}')\n" for number in range(10000))
    results = ((text, simulate(text, folder)) for text in texts)
    return next(text for text, (ok, time_s) in results if ok is reached and time_s >= least_s)


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of each model the scripts that it answers with, one a step of its chain."""
    folder = tmp_path_factory.mktemp("codes")
    good = {"good1": (True, SLOW_S), "good2": (True, 0.0), "good3": (True, 0.0)}
    wanted = {**good, "bad1": (True, 0.0), "bad2": (False, 0.0)}
    return {name: code(name, *how, folder) for name, how in wanted.items()}


@pytest.fixture(scope="module")
def chained(
    tmp_path_factory: pytest.TempPathFactory, codes: dict[str, str]
) -> Iterator[tuple[Path, ModelServer, list[str]]]:
    """A finished sweep of three tasks in a chain; one arm's chain ends at the second."""

    def reply(body: dict[str, Any]) -> str:
        name = "bad" if "coder:32b" in body["model"] else "good"
        prompt = body["messages"][-1]["content"]
        last = max(step for step in range(3) if codes.get(f"{name}{step}", "") in prompt)
        return whole(codes[f"{name}{last + 1}"])

    folder = tmp_path_factory.mktemp("chained")
    with ModelServer(reply) as server:
        overrides = [SIMULATED, *ALONE, "track.records=[r01,r02,r03,r01]", *at(server)]
        overrides += [arm("good", "vllm", mode="cumulative")]
        overrides += [arm("bad", "ollama", mode="cumulative")]
        succeed(run(folder, "-c2", REPORT.format(sweep="nano"), overrides=overrides))
        yield folder, server, overrides


def scores(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    text = (folder / "results/nano/report/scores.csv").read_text(encoding="utf-8")
    return {(row["task"], row["arm"]): row for row in csv.DictReader(io.StringIO(text))}


def test_each_task_starts_from_the_winner_of_the_one_before(
    chained: tuple[Path, ModelServer, list[str]], codes: dict[str, str]
) -> None:
    folder, server, _ = chained
    for number, task in enumerate(TASKS, start=1):
        here = trial(folder, task, "good")
        assert files.read_tree(here / "node_1/solution") == {"train.py": codes[f"good{number}"]}
        assert (here / "start").exists() is (number > 1)
    here = trial(folder, TASKS[1], "good")
    assert files.read_tree(here / "start/solution") == {"train.py": codes["good1"]}
    before = trial(folder, TASKS[0], "good")
    link = files.read_json(here / "start/chain.json")
    assert link["from"] == str(before.relative_to(folder))
    assert (link["node"], link["ended"]) == (1, False)
    taken = (here / "start/analysis.json").read_bytes()
    assert taken == (before / "node_1/analysis.json").read_bytes()
    prompts = [request.prompt for request in server.requests if codes["good1"] in request.prompt]
    assert len(prompts) == 1  # of the second task alone: nothing else leaks from one to another


def test_where_the_chain_has_ended_nothing_is_asked_or_run(
    chained: tuple[Path, ModelServer, list[str]],
) -> None:
    folder, server, _ = chained
    asked = [request for request in server.requests if "coder:32b" in request.body["model"]]
    assert len(asked) == 2 and len(server.requests) == 5
    node = trial(folder, TASKS[2], "bad") / "node_1"
    parent = schema.load(Parent, node / "parent.json")
    assert parent.outcome is Outcome.NOT_ATTEMPTED
    assert "ended at r02-r03/bad-" in parent.reason
    assert schema.load(schema.RunExit, node / "run/exit.json").ran is False
    assert schema.load(Analysis, node / "analysis.json").outcome is Outcome.NOT_ATTEMPTED
    assert (node / "calls.jsonl").read_text() == ""


def test_an_ended_chain_scores_0_and_says_so(
    chained: tuple[Path, ModelServer, list[str]],
) -> None:
    folder = chained[0]
    rows = scores(folder)
    ended = rows["r03-r01", "bad"]
    assert (ended["fsr_own_start"], ended["fsr_audited"]) == ("0", "0")
    assert (ended["outcome"], ended["tokens"], ended["device_seconds"]) == (
        "not_attempted",
        "0",
        "0",
    )
    assert "none of 1 nodes reached the target" in ended["reason"]
    assert rows["r02-r03", "bad"]["outcome"] == "missed_target"
    page = (folder / "results/nano/report/index.html").read_text(encoding="utf-8")
    assert "bad: 1 node not attempted, because the chain had ended" in page
    counted = page.split("<h2>How nodes ended</h2>")[1].split("</table>")[0]
    assert "not attempted" not in counted


def test_the_own_start_is_scored_beside_the_humans(
    chained: tuple[Path, ModelServer, list[str]],
) -> None:
    folder = chained[0]
    rows = scores(folder)
    first = rows["r01-r02", "good"]
    assert first["fsr_own_start"] == first["fsr"]
    assert first["own_start_reason"].startswith("the first of its chain")
    for task in TASKS[1:]:
        row, here = rows[task, "good"], trial(folder, task, "good")
        own = schema.load(Analysis, here / "start/analysis.json").time_s
        agent = schema.load(Analysis, here / "node_1/analysis.json").time_s
        target = files.read_json(folder / f"results/nano/score/nano/{task}.json")["t_target_s"]
        assert own is not None and agent is not None
        if own <= target:
            assert (
                row["fsr_own_start"] == "" and "nothing is left to gain" in row["own_start_reason"]
            )
        else:
            expected = (own - agent) / (own - target)
            assert float(row["fsr_own_start"]) == pytest.approx(expected, rel=1e-4)
    assert rows["r02-r03", "good"]["fsr_own_start"] != ""


def test_a_finished_chain_has_nothing_left_to_do(
    chained: tuple[Path, ModelServer, list[str]],
) -> None:
    folder, _, overrides = chained
    said = succeed(run(folder, "-n", REPORT.format(sweep="nano"), overrides=overrides))
    assert "Nothing to be done" in said


def test_a_killed_chain_finishes_with_the_same_bytes_and_pays_for_no_reply_twice(
    chained: tuple[Path, ModelServer, list[str]], tmp_path: Path
) -> None:
    folder, server, overrides = chained
    page, asked, kills = REPORT.format(sweep="nano"), len(server.requests), 0
    for seconds in (9.0, 11.0, 13.0):
        kills += workflow_runs.kill_after(tmp_path, seconds, "-c2", page, overrides=overrides)
    assert kills
    succeed(run(tmp_path, "-c2", page, overrides=overrides))
    timed = "calls.jsonl"  # holds how long each call took
    ours, theirs = workflow_runs.stable_files(tmp_path), workflow_runs.stable_files(folder)
    assert {name: digest for name, digest in ours.items() if not name.endswith(timed)} == {
        name: digest for name, digest in theirs.items() if not name.endswith(timed)
    }
    assert asked <= len(server.requests) - asked <= asked + kills  # a kill may cut one in flight
