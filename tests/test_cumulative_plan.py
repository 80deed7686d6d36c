"""Cumulative arms in a plan: which trial each one starts from, and what is no chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedrun import plan
from written_arms import ASKS, load, message, own_configuration


@pytest.fixture(scope="module")
def own(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_configuration(repository, tmp_path_factory.mktemp("own"))


def test_a_cumulative_trial_starts_from_the_one_before(own: Path) -> None:
    config = load(
        own,
        "tasks=[r05-r06,r06-r07,r07-r08]",
        "seeds=[0,1]",
        f"+arms.x={{{ASKS}, mode: cumulative}}",
    )
    trials = [trial for trial in plan.trials(config) if trial.name == "x"]
    before = {(trial.task, trial.seed): trial.folder for trial in trials}
    for trial in trials:
        task = {"r05-r06": "", "r06-r07": "r05-r06", "r07-r08": "r06-r07"}[trial.task]
        assert trial.start_from == (before[task, trial.seed] if task else "")
    entries = {entry["folder"]: entry for entry in plan.as_dict(config)["trials"]}
    assert {folder: entry.get("start_from", "") for folder, entry in entries.items()} == {
        trial.folder: trial.start_from for trial in plan.trials(config)
    }


def test_another_beginning_of_the_chain_is_another_trial(own: Path) -> None:
    def last(*tasks: str) -> str:
        chain = f"tasks=[{','.join(tasks)}]"
        trials = plan.trials(load(own, chain, f"+arms.x={{{ASKS}, mode: cumulative}}"))
        return next(t.folder for t in trials if (t.name, t.task) == ("x", "r07-r08"))

    folders = {last("r07-r08"), last("r06-r07", "r07-r08"), last("r05-r06", "r06-r07", "r07-r08")}
    assert len(folders) == 3


def test_cumulative_tasks_are_a_chain(own: Path) -> None:
    cumulative = f"+arms.x={{{ASKS}, mode: cumulative}}"
    said = message(own, "tasks=[r05-r06,r07-r08]", cumulative)
    assert "arm 'x' is cumulative, but task r07-r08 does not start where r05-r06 ended" in said
    upstream = {"name": "paper_cumulative"}
    assert len(load(own, **upstream)["tasks"]) == 19
    again = load(own, "tasks='20 <= number <= 23'", **upstream)["tasks"]
    assert again == ["r19-r20", "r20-r21", "r21c-r22", "r22-r23"]
    assert "r07-r08 does not start where r04-r05 ended" in message(
        own, "tasks=[r04-r05,r07-r08]", **upstream
    )
