"""Planning a track with a registry: its task table, which tasks a sweep names, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from speedrun import plan, registry, specs
from speedrun.adapters import missing, selection, sweep, task_table, workflow
from speedrun.files import SpeedrunError

PAPER = [f"r{k:02d}-r{k + 1:02d}" for k in (*range(1, 6), *range(7, 21))]


@pytest.fixture(scope="module")
def facts(repository: Path) -> registry.Registry:
    return registry.load(repository / "tracks/nanogpt/registry.yaml")


@pytest.fixture(scope="module")
def rows(facts: registry.Registry) -> list[dict[str, Any]]:
    return [task_table.registry_row(pair) for pair in facts.tasks]


@pytest.fixture(scope="module")
def paper19(repository: Path) -> dict[str, Any]:
    return sweep.load(repository / "config", "paper19", [])


def nanogpt(repository: Path, *overrides: str) -> dict[str, Any]:
    return sweep.load(repository / "config", "nanogpt", list(overrides))


# --- which tasks ---
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("number <= 21", PAPER),
        ("start == 'r21c'", ["r21c-r22"]),
        ("not strict", ["r01-r02", "r02-r03", "r03-r04"]),
        ("era == 'flex' and gain_percent >= 10", ["r11-r12", "r14-r15"]),
        ("start_minutes - target_minutes > 6", ["r01-r02", "r02-r03", "r04-r05"]),
        ("'2024-11-19' <= target_date < '2024-12-05'", ["r11-r12", "r12-r13", "r13-r14"]),
        ("number in [5, 6, 7]", ["r04-r05", "r05-r06"]),
        ("(number == 5) | (number == 6)", ["r04-r05", "r05-r06"]),
        (" r04-r05 ", ["r04-r05"]),
        (" number == 5\n", ["r04-r05"]),
    ],
)
def test_an_expression_chooses_rows_of_the_table(
    rows: list[dict[str, Any]], expression: str, expected: list[str]
) -> None:
    assert selection.choose(rows, {}, expression) == expected


def test_groups_of_the_real_registry(rows: list[dict[str, Any]]) -> None:
    counts = {
        "all": 85,
        "strict": 82,
        "gain_percent >= 5": 15,
        "target_date > '2025-05-01'": 66,
        "ai_system != ''": 5,
    }
    assert {wanted: len(selection.choose(rows, {}, wanted)) for wanted in counts} == counts


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("gain_percnt >= 5", "unknown column 'gain_percnt'; nearest is 'gain_percent'"),
        ("gain_percent >= 500", "no task matches tasks='gain_percent >= 500'"),
        ("number >", "it is not an expression"),
        ("number", "it is not true or false for each task"),
        ("number > 'five'", "Invalid comparison"),
        ("start.to_csv('out')", "Call is not allowed"),
        ("task.str", "Attribute is not allowed"),
        ("__import__('os')", "Call is not allowed"),
        ("@limit < number", "it is not an expression"),
        ("__builtins__ == 1", "unknown column '__builtins__'"),
        ("number < 9**9**9", "Pow is not allowed"),
        ("[n for n in number]", "ListComp is not allowed"),
        ("r6-r07", "unknown task 'r6-r07'; nearest is"),
        (["r04-r05", "r4-r05"], "unknown task 'r4-r05'; nearest is"),
        (["number > 5"], "unknown task 'number > 5'"),
    ],
)
def test_a_bad_choice_is_one_line(
    rows: list[dict[str, Any]], wanted: list[str] | str, message: str
) -> None:
    with pytest.raises(SpeedrunError) as caught:
        selection.choose(rows, {}, wanted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
@example("number" + "(" * 500)
@example("\0")
@example("number == 1\n")
def test_any_text_chooses_tasks_or_is_one_line(text: str) -> None:
    table = [{"task": "r01-r02", "number": 2}, {"task": "r02-r03", "number": 3}]
    try:
        chosen = selection.choose(table, {}, text)
    except SpeedrunError as error:
        assert "\n" not in str(error)
    else:
        assert set(chosen) <= {"r01-r02", "r02-r03"}


def test_an_excluded_step_is_refused_with_its_reason(repository: Path) -> None:
    for task in ("r06-r07", "r24-r25", "r65-r66"):
        with pytest.raises(SpeedrunError, match=f"{task} is no task: .*PyTorch"):
            nanogpt(repository, f"tasks={task}")


def test_a_sweep_takes_an_expression_as_an_override(repository: Path) -> None:
    config = nanogpt(repository, "tasks='number <= 5 and strict'")
    assert config["tasks"] == ["r04-r05"]
    local = sweep.load(repository / "config", "quickstart", ["tasks='number >= 7'"])
    assert local["tasks"] == ["r06-r07", "r07-r08"]


# --- the plan ---
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


# --- the command line ---
@pytest.mark.parametrize(
    "line", ["-c2", "--config sweep=a overrides=b -c2", "-C sweep=a -n", "-n --config sweep=a"]
)
def test_settings_that_stand_after_config_are_taken(line: str) -> None:
    workflow.check_words(line.split())


@pytest.mark.parametrize("line", ["sweep=a", "-c2 sweep=a", "--config sweep=a -c2 overrides=b"])
def test_a_setting_that_became_a_target_is_refused(line: str) -> None:
    with pytest.raises(SpeedrunError, match="is a target here: write all such words after one"):
        workflow.check_words(line.split())


def test_what_is_too_large_is_planned_if_somebody_insists(nano_config: dict[str, Any]) -> None:
    large = {**nano_config, "seeds": list(range(3000))}
    with pytest.raises(SpeedrunError, match=r"jobs, which take .* run it in cells"):
        workflow.check_size(large, force=False)
    workflow.check_size(large, force=True)
    workflow.check_size(nano_config, force=False)


# --- what is missing ---
def gaps(config: dict[str, Any], facts: registry.Registry | None, local: bool = True) -> list[str]:
    return [gap.text for gap in missing.gaps(config, facts, local)]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and no key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


def with_model(config: dict[str, Any], **values: str) -> dict[str, Any]:
    asks = {**config["arms"]["null"], "model": {"name": "mine"}}
    models = {"mine": {"api_key_env": "OPENAI_API_KEY", **values}}
    return {**config, "arms": {"asks": asks}, "models": models}


def test_a_dry_run_names_what_is_missing(
    bare: Path, paper19: dict[str, Any], facts: registry.Registry
) -> None:
    said = gaps(with_model(paper19), facts)
    assert said[0].startswith("the upstream records (store/upstream/nanogpt.git): the workflow")
    kinds = [text.split()[0].rstrip(":") for text in said]
    assert kinds == ["the", "shards", "environments", "GPU", "downloads", "key"]


def test_only_tasks_that_download_ask_for_downloads(
    bare: Path, repository: Path, facts: registry.Registry
) -> None:
    early = nanogpt(repository, "hardware=8xh100", "tasks='8 <= number <= 9'")
    late = nanogpt(repository, "hardware=8xh100", "tasks='number == 84'")
    for config, needed in ((early, False), (late, True)):
        folders = {specs.train(config, task.setting)["hub_cache"] for task in plan.tasks(config)}
        assert folders == ({"store/hub"} if needed else {""})
        assert any(text.startswith("downloads") for text in gaps(config, facts)) is needed


def test_shards_in_the_folder_of_downloads_do_not_fill_it(
    bare: Path, repository: Path, facts: registry.Registry
) -> None:
    """The corpus keeps its own downloads in the same store by default."""
    late = nanogpt(repository, "tasks='number == 84'")
    store = Path(late["hardware"]["hub_cache"])
    assert late["corpus"]["store"] == str(store)
    (store / "kjj0--fineweb10B-gpt2").mkdir(parents=True)
    assert any(text.startswith("downloads") for text in gaps(late, facts))
    (store / "huggingface").mkdir()
    assert not any(text.startswith("downloads") for text in gaps(late, facts))


def test_what_is_there_is_not_missing(
    bare: Path, paper19: dict[str, Any], facts: registry.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "store/upstream/nanogpt.git").mkdir(parents=True)
    for name in specs.shard_names(paper19):
        path = bare / "results/shards/fineweb10B/public" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    simulated = {**paper19["hardware"], "trainer": "simulated"}
    assert gaps({**with_model(paper19), "hardware": simulated}, facts) == []
    assert not [text for text in gaps(paper19, facts, local=False) if text.startswith("GPU")]


def test_a_local_track_misses_nothing(bare: Path, nano_config: dict[str, Any]) -> None:
    assert gaps(nano_config, None) == []


def test_a_run_in_vain_is_stopped_in_one_line(
    bare: Path, nano_config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    asks = with_model(nano_config)
    with pytest.raises(SpeedrunError, match=r"key of model mine .arm asks.: .* not set"):
        missing.require(asks, None, {"generate", "train"}, local=False)
    missing.require(asks, None, {"corpus", "records", "train"}, local=True)
    missing.say(asks, None, local=True)
    assert capsys.readouterr().err.startswith("speedrun: missing: key of model mine")


def test_a_key_is_missing_once_for_all_arms_and_the_judge(bare: Path, nano_config: Any) -> None:
    asks = with_model(nano_config)
    asks["arms"]["too"] = asks["arms"]["asks"]
    asks["judge"] = {"name": "model", "kind": "model", "model": {"name": "mine"}}
    assert [text[:40] for text in gaps(asks, None)] == [
        "key of model mine (arm asks and 2 more): "[:40]
    ]


def test_a_coding_agent_builds_its_own_environment(bare: Path, nano_config: Any) -> None:
    agent = {**nano_config["arms"]["null"], "coder": {"name": "a", "requirements": "a.txt"}}
    config = {**nano_config, "arms": {"agent": agent}}
    assert gaps(config, None) == ["environments of the coders a: their first nodes build them"]
    python = bare / "results/envs/coders/a/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert gaps(config, None) == []


def test_an_agents_tools_must_be_there(
    bare: Path, nano_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    coder = {"name": "a", "shown": ["results/envs/coders/a"], "install": "npm install a"}
    config = {**nano_config, "arms": {"agent": {**nano_config["arms"]["null"], "coder": coder}}}
    with pytest.raises(SpeedrunError, match=r"tools of coder a .*coders/a\): npm install a"):
        missing.require(config, None, {"generate"}, local=False)
    missing.say_agents(config)
    assert capsys.readouterr().err.startswith("speedrun: missing: tools of coder a (results/envs")
    (bare / "results/envs/coders/a").mkdir(parents=True)
    assert gaps(config, None) == []


def test_a_gpu_is_required_where_the_jobs_run(
    bare: Path, paper19: dict[str, Any], facts: registry.Registry
) -> None:
    with pytest.raises(SpeedrunError, match="missing: GPU: hardware 8xh100 needs 8"):
        missing.require(paper19, facts, {"train_reference"}, local=True)
    missing.require(paper19, facts, {"train_reference"}, local=False)
    missing.require(paper19, facts, {"upstream", "corpus", "tokenize", "records"}, local=True)


def test_an_interpreter_that_is_not_there_is_missing(bare: Path, nano_config: Any) -> None:
    hardware = {**nano_config["hardware"], "python": "/nowhere/bin/python"}
    said = gaps({**nano_config, "hardware": hardware}, None)
    assert said == ["interpreter /nowhere/bin/python: set hardware.python to one that exists"]


def test_tasks_that_cannot_run_are_said_once(
    bare: Path, nano_config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**nano_config, "not_run": [{"task": "r21c-r22", "reason": "the batch shrinks"}]}
    missing.say_not_run(config)
    assert capsys.readouterr().err == "speedrun: not run: r21c-r22: the batch shrinks\n"
