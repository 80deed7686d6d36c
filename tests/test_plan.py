"""Planning a track with a registry: its tasks, their runs and data, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogpt_tasks import PAPER, nanogpt
from speedrun import plan, registry, specs
from speedrun.files import SpeedrunError


def test_paper19_is_the_papers_set(paper19: dict[str, Any]) -> None:
    whole = plan.as_dict(paper19)
    assert [entry["task"] for entry in whole["tasks"]] == PAPER
    assert len(whole["trials"]) == 2 * 19
    assert {trial["arm"] for trial in whole["trials"]} == {"oracle", "null"}
    assert whole["hardware"] == "8xh100"


def test_nanogpt_is_every_task(repository: Path, facts: registry.Registry) -> None:
    config = nanogpt(repository)
    planned = [task.name for task in plan.tasks(config)]
    left_out = [row["task"] for row in config["not_run"]]
    assert sorted(planned + left_out) == sorted(pair.task for pair in facts.tasks)


def test_the_retimed_record_starts_its_task(repository: Path) -> None:
    (task,) = plan.tasks(nanogpt(repository, "tasks=r21c-r22"))
    assert (task.start, task.target) == ("r21c", "r22")
    facts = specs.task(nanogpt(repository, "tasks=r21c-r22"), "r21c-r22")
    assert facts["margin_percent"] == 0.1
    assert (facts["start"], facts["target"]) == ("r21c", "r22")


def test_task_facts_tell_nothing_of_the_target_but_its_id(
    repository: Path, facts: registry.Registry
) -> None:
    config = nanogpt(repository)
    for pair in facts.tasks:
        said = specs.task(config, pair.task)
        assert "torchrun" in said["hardware"] and "3600 s" in said["hardware"]
        text = " ".join(str(value) for value in said.values())
        told = (f"{pair.target.time_minutes:g}", pair.target.date, pair.target.title)
        assert not [word for word in told if word and f" {word} " in f" {text} "]


def test_what_the_hardware_cannot_run_is_left_out_with_its_reason(repository: Path) -> None:
    config = nanogpt(repository, "hardware=1xh200", "tasks='21 <= number <= 28'")
    left_out = {row["task"]: row["reason"] for row in config["not_run"]}
    assert {"r21c-r22", "r22-r23", "r23-r24"} <= set(left_out)
    assert all(left_out.values())
    assert not set(left_out) & set(config["tasks"])
    whole = plan.as_dict(config)
    assert whole["not_run"] == config["not_run"]
    assert plan.task_slice(whole, "score", config["tasks"][0])["not_run"] == []


def test_a_hardware_that_can_run_nothing_is_an_error(repository: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"can run none of the 1 chosen tasks.*r21c-r22: "):
        nanogpt(repository, "hardware=1xh200", "tasks=r21c-r22")


def test_the_simulated_trainer_runs_what_the_hardware_cannot(repository: Path) -> None:
    config = nanogpt(repository, "hardware=1xh200", "hardware.trainer=simulated")
    assert len(config["tasks"]) == 85 and config["not_run"] == []


def test_runs_of_a_task_share_its_targets_environment(repository: Path) -> None:
    config = nanogpt(repository, "hardware.environments=build", "tasks='11 <= number <= 14'")
    tasks = {task.name: task for task in plan.tasks(config)}
    eras = {name: task.setting.era for name, task in tasks.items()}
    assert eras["r10-r11"] != eras["r11-r12"] == eras["r12-r13"]
    folders = {name: plan.references(config, task) for name, task in tasks.items()}
    assert folders["r10-r11"]["r11"] != folders["r11-r12"]["r11"]
    assert folders["r12-r13"]["r13"] == folders["r13-r14"]["r13"]
    whole = plan.as_dict(config)
    for name, own in folders.items():
        assert plan.task_slice(whole, "score", name)["references"] == own
    merged = set(whole["references"]["r11"])
    assert merged == {*folders["r10-r11"]["r11"], *folders["r11-r12"]["r11"]}


def test_a_wider_sweep_shows_a_tasks_runs_the_same_data(repository: Path) -> None:
    narrow = nanogpt(repository, "tasks='number == 84'")
    wide = nanogpt(repository, "tasks='number in (5, 84)'")
    (late,), (early, same) = plan.tasks(narrow), plan.tasks(wide)
    assert specs.train_shards(narrow) < specs.train_shards(wide) == early.setting.train_shards
    assert same == late and specs.train(narrow, late.setting) == specs.train(wide, same.setting)
    assert plan.references(narrow, late) == plan.references(wide, same)
    assert specs.shard_names(wide, same.setting) == specs.shard_names(narrow)


def test_an_audit_has_time_for_every_run(repository: Path) -> None:
    task = "r04-r05"
    hour = nanogpt(repository, f"tasks={task}", "audit.rounds=3")
    runs = 2 * (3 + 1 + 1) + 3 + 2 * (1 + 1)  # winners, the start beside them, records unseen
    assert plan.audit_minutes(hour, task, 1) == runs * 60 + 30
    assert plan.audit_minutes(hour, task, 2) == runs * 30 + 30
    changes = ("audit.references=interleaved", "audit.noise_runs=0", "audit.holdout_runs=0")
    plain = nanogpt(repository, f"tasks={task}", "audit.rounds=3", *changes)
    assert plan.audit_minutes(plain, task, 1) == 3 * (2 + 2) * 60 + 30
    slow = nanogpt(repository, f"tasks={task}", "hardware=1xgpu", "seeds=[0,1,2]")
    assert plan.audit_minutes(slow, task, 1) == plan.WEEK_MIN


def test_a_new_record_upstream_makes_no_planned_task_again(
    repository: Path, tmp_path: Path
) -> None:
    """Nothing that a rule of an older task reads knows of a record that is added later."""
    known = yaml.safe_load((repository / "tracks/nanogpt/registry.yaml").read_text("utf-8"))
    known["records"].pop()
    before = tmp_path / "registry.yaml"
    before.write_text(yaml.safe_dump(known, sort_keys=False), encoding="utf-8")
    tasks = "tasks='80 <= number <= 82'"
    old = nanogpt(repository, f"track.registry={before}", tasks)
    new = nanogpt(repository, tasks)
    assert len(new["track"]["tasks"]) == len(old["track"]["tasks"]) + 1
    assert specs.track(old) == specs.track(new)
    assert plan.trials(old) == plan.trials(new)
    whole = plan.as_dict(old), plan.as_dict(new)
    for stage in plan.STAGE_SECTIONS:
        one, other = (plan.task_slice(values, stage, "r80-r81") for values in whole)
        assert one == other
