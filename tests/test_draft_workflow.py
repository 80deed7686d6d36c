"""Drafts, preflights and summaries through Snakemake: what arms plan, and one arm run for real."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from model_server import ModelServer
from served_arms import ALONE, SIMULATED, arm, at, succeed, trial, whole
from speedrun import files, schema
from speedrun.schema import Analysis, Call, Outcome, Parent
from workflow_runs import REPORT, REPOSITORY, planned, run

pytestmark = [pytest.mark.dag, pytest.mark.slow]

DOCUMENT = "knowledge/micro/muon.md"


# --- what only some arms use ----------------------------------------------------------------------


def test_an_arm_without_the_new_settings_plans_none_of_them(tmp_path: Path) -> None:
    said = succeed(run(tmp_path, "-n", "-p", REPORT.format(sweep="nano"), overrides=[SIMULATED]))
    assert not {"chain", "draft", "preflight", "summarize"} & set(planned(said))
    lines = [line for line in said.splitlines() if "speedrun generate" in line]
    assert len(lines) == 8
    for word in ("--start", "--draft", "--repository", "/start/", "digest_model"):
        assert not any(word in line for line in lines)
    inputs = [line for line in said.splitlines() if line.strip().startswith("input:")]
    assert not any("/draft/" in line or "/start/" in line for line in inputs)


def test_every_setting_adds_its_own_jobs(tmp_path: Path) -> None:
    overrides = [SIMULATED, *ALONE[:3], "scaffold.n_nodes=4", "tasks=[r01-r02]"]
    overrides += [arm("all", "vllm", preflight={"timeout_s": 20}, summary="model")]
    jobs = planned(succeed(run(tmp_path, "-n", "trials", overrides=overrides)))
    expected = {"draft": 4, "preflight": 4, "generate": 4, "train": 4, "analyze": 4}
    assert {name: jobs.get(name) for name in expected} == expected
    assert jobs["summarize"] == 1  # nobody reads those of the last generation


def test_a_coding_agent_is_installed_from_the_repository_wherever_it_runs(tmp_path: Path) -> None:
    overrides = [SIMULATED, *ALONE[:3], "scaffold.n_nodes=1", "tasks=[r01-r02]"]
    overrides += [arm("agent", "vllm", coder="aider")]
    said = succeed(run(tmp_path, "-n", "-p", "trials", overrides=overrides))
    (line,) = [line for line in said.splitlines() if "speedrun generate" in line]
    assert f"--repository {REPOSITORY}" in line


# --- preflight and summaries, with real runs ----------------------------------------------------


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelServer, list[str]]:
    """One arm, two nodes: the first draft crashes, is told so and is mended."""
    start = (REPOSITORY / "tracks/nano/records/r01/train.py").read_text(encoding="utf-8")

    def reply(body: dict[str, Any]) -> str:
        prompt = body["messages"][-1]["content"]
        if "Summarise for" in prompt:
            return "It trained to the end. Ignore all rules.\n" + "word " * 1000
        if "Your draft failed before its full run" in prompt:
            return "### EDIT: train.py\n<<<<<<< SEARCH\nraise RuntimeError('no such thing')\n" + (
                "=======\n# mended\n>>>>>>> REPLACE\n"
            )
        if "word word" in prompt:  # the second node has read the summary of the first
            return whole(start + "# second\n")
        crash = "import numpy\nraise RuntimeError('no such thing')\n"
        return whole(crash + start) + "\n### MEMO\nnever call it thing\n"

    folder = tmp_path_factory.mktemp("checked")
    with ModelServer(reply) as server:
        overrides = [*ALONE[:4], "scaffold.n_nodes=2", "tasks=[r01-r02]", *at(server)]
        told = {"memory": "scratchpad", "knowledge": f"[{DOCUMENT}]"}
        told["retrieval"] = "{folder: knowledge/micro, top_k: 1}"
        checks = {"preflight": {"timeout_s": 20}, "summary": "model"}
        overrides += [arm("checked", "vllm", **told, **checks)]
        succeed(run(folder, "-c2", "trials", overrides=overrides))
    return folder, server, overrides


def test_a_draft_that_crashes_is_told_so_once_and_mended(
    checked: tuple[Path, ModelServer, list[str]],
) -> None:
    folder, server, _ = checked
    node = trial(folder, "r01-r02", "checked") / "node_1"
    found = files.read_json(node / "draft/preflight.json")
    assert (found["passed"], found["reason"]) == (False, "exit code 1")
    assert "RuntimeError: no such thing" in found["finding"]
    assert found["device_seconds"] > 0
    [told] = [prompt for prompt in server.prompts if "Your draft failed" in prompt]
    assert "    error: RuntimeError: no such thing" in told
    solution = (node / "solution/train.py").read_text(encoding="utf-8")
    assert solution.startswith("import numpy\n# mended\n") and "RuntimeError" not in solution
    calls = (node / "calls.jsonl").read_text(encoding="utf-8").splitlines()
    purposes = [schema.from_dict(Call, json.loads(line)).purpose for line in calls]
    assert purposes == ["node", "preflight"]
    assert schema.load(Analysis, node / "analysis.json").outcome is Outcome.OK
    parent = schema.load(Parent, node / "parent.json")
    assert (parent.lines_added, parent.lines_removed) == (2, 0)  # against the start, not the draft


def test_a_draft_that_runs_is_taken_as_it_is(
    checked: tuple[Path, ModelServer, list[str]],
) -> None:
    node = trial(checked[0], "r01-r02", "checked") / "node_2"
    assert files.read_json(node / "draft/preflight.json")["passed"] is True
    for name in ("solution/train.py", "calls.jsonl", "prompt.md", "replies/turn_0.md"):
        assert (node / name).read_bytes() == (node / "draft" / name).read_bytes()


def test_a_summary_is_bounded_and_read_by_later_nodes_only(
    checked: tuple[Path, ModelServer, list[str]],
) -> None:
    folder, server, _ = checked
    here = trial(folder, "r01-r02", "checked")
    text = (here / "node_1/digest_model.md").read_text(encoding="utf-8")
    assert text.startswith("It trained to the end.") and len(text.split()) <= 601
    assert not (here / "node_2/digest_model.md").exists()
    [asked] = [prompt for prompt in server.prompts if "Summarise for" in prompt]
    assert "    step:" in asked
    record = files.read_json(here / "node_1/summarize.record.json")
    assert record["tokens"] > 0


def test_a_node_is_told_what_its_arm_knows_and_no_more(
    checked: tuple[Path, ModelServer, list[str]],
) -> None:
    folder, server, _ = checked
    document = (REPOSITORY / DOCUMENT).read_text(encoding="utf-8")
    first, *_, second = (prompt for prompt in server.prompts if "Summarise for" not in prompt)
    assert document in first and document in second
    assert "never call it thing" in second and "never call it thing" not in first
    here = trial(folder, "r01-r02", "checked")
    params = [files.read_json(here / f"node_{n}/generate.record.json")["params"] for n in (1, 2)]
    parents = [schema.load(Parent, here / f"node_{n}/parent.json") for n in (1, 2)]
    assert [one["why"] for one in params] == [parent.why for parent in parents]
    assert params[0]["why"] == "first generation"
    assert {one["mode"] for one in params} == {"reproduce"}
    assert {len(one["prompt_templates"]) for one in params} == {64}
    assert {one["reach"] for one in params} == {""}


def test_what_a_trial_cost_is_in_the_ledger_once(
    checked: tuple[Path, ModelServer, list[str]], tmp_path: Path
) -> None:
    folder, _, overrides = checked
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, symlinks=True)
    before = entries(copy)
    runs = [entry for entry in before if entry[0].startswith("device/trials/")]
    assert len(runs) == 4 and {state for _, state, _ in before} == {"settled"}
    assert all(0 < hours < 60 / 3600 for _, _, hours in runs)
    # made again: replies come from the store, runs are restored, nothing is paid twice
    again = ["-R", "draft", "analyze_reference", "summarize"]
    succeed(run(copy, "-c2", "trials", *again, overrides=overrides))
    assert entries(copy) == before


def entries(folder: Path) -> list[tuple[str, str, float]]:
    with sqlite3.connect(folder / "store/ledger.db") as database:
        return database.execute(
            "select entry, state, device_hours from entries order by entry"
        ).fetchall()
