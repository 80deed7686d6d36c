"""Configuration: every option composes, and a wrong name is one line with the nearest right one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from speedrun import plan, specs
from speedrun.adapters import hydra_config, sweep
from speedrun.files import SpeedrunError

GROUPS = ["track", "hardware", "scaffold", "embedder", "judge", "tracking"]


@pytest.fixture(scope="module")
def config(repository: Path) -> Path:
    return repository / "config"


@pytest.mark.slow
def test_every_sweep_resolves_and_plans_and_has_its_inputs(config: Path) -> None:
    """Inputs are the local records, and hints of every level asked for, as long as their level."""
    for name in hydra_config.options(config, "sweep"):
        resolved = sweep.load(config, name, [])
        sweep.check_inputs(config.parent, resolved)
        assert plan.trials(resolved) and plan.tasks(resolved)
        assert resolved["whole"] == resolved["name"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_a_group_composes(config: Path, group: str) -> None:
    for name in set(hydra_config.options(config, group)) - {"model"}:
        extra = ["tasks=all"] if group == "track" else []
        extra += ["hardware=8xh100"] if name == "nanogpt" else []
        assert sweep.load(config, "quickstart", [f"{group}={name}", *extra])[group]["name"] == name


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("quickstar", [], "unknown sweep 'quickstar'; nearest is 'quickstart'"),
        ("quickstart", ["scaffold.n_node=4"], "unknown key 'scaffold.n_node'; nearest is 'scaff"),
        ("quickstart", ["scafold=flat"], "unknown key 'scafold'; nearest is 'scaffold'"),
        ("quickstart", ["models.x.base_url=u"], ", or new with a plus: +models.x.base_url=u"),
        ("quickstart", ["scaffold=flatt"], "unknown scaffold 'flatt'; nearest is 'flat'"),
        ("quickstart", ["tasks=[r1-r02]"], "unknown task 'r1-r02'; nearest is 'r01-r02'"),
        ("quickstart", ["scaffold.n_nodes"], "write overrides as key=value"),
        ("quickstart", ["tasks=number <= 5"], "with spaces or signs in quotes: tasks='number <= 5"),
        ("quickstart", ["+arms.x={coder: oracel}"], "unknown coder 'oracel'; nearest is 'oracle'"),
        ("quickstart", ["+arms.x={coder: 'null', hints: l4}"], "unknown hints 'l4'; nearest is"),
        ("quickstart", ["+arms.x={codr: oracle}"], "unknown key 'codr' in arm 'x'; nearest is"),
        (
            "quickstart",
            ["+arms.x={coder: {name: tuner, facto: 2}}"],
            "unknown key 'facto' in the coder of arm 'x'; nearest is 'factor'",
        ),
        (
            "quickstart",
            ["+arms.x={coder: oracle, scaffold: {name: flat, n_node: 2}}"],
            "unknown key 'n_node' in the scaffold of arm 'x'; nearest is 'n_nodes'",
        ),
        (
            "quickstart",
            ["+arms.x={coder: oracle, scaffold: {name: flatt}}"],
            "unknown scaffold 'flatt'; nearest is 'flat'",
        ),
        (
            "quickstart",
            ["+arms.x={coder: oracle, mode: improve}"],
            "unknown mode 'improve' in arm 'x'; nearest is 'reproduce'",
        ),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(
    config: Path, name: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(SpeedrunError) as caught:
        sweep.load(config, name, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=3", "seeds must be a list of different whole numbers from 0, such as seeds=[0,1]"),
        ("seeds=[0,0]", "seeds must be a list of different whole numbers"),
        ("seeds=[-1]", "seeds must be a list of different whole numbers"),
        ("seeds=[a]", "seeds must be a list of different whole numbers"),
        ("seeds=[]", "seeds must be a list of different whole numbers"),
        ("tasks=[]", "tasks must be one name, a list of names, or all"),
        ("tasks=null", "tasks must be one name, a list of names, or all"),
        ("references.runs=0", "references.runs must be a whole number of at least 1, got 0"),
        ("audit.rounds=1.5", "audit.rounds must be a whole number of at least 1, got 1.5"),
        ("audit.rounds=true", "audit.rounds must be a whole number of at least 1, got True"),
        ("audit.confidence=2", "audit.confidence must lie between 0 and 1, got 2"),
        ("audit.loss_p_max=0.0", "audit.loss_p_max must lie between 0 and 1, got 0.0"),
        ("audit.lanes=none", "audit.lanes must be a whole number of at least 1, got 'none'"),
        ("scaffold.n_nodes=0", "scaffold.n_nodes must be a whole number of at least 1, got 0"),
        ("scaffold.n_branch=x", "scaffold.n_branch must be a whole number of at least 1"),
        ("+arms.x={scaffold: {n_nodes: 0}}", "arms.x.scaffold.n_nodes must be a whole number"),
        (
            "+arms.x={coder: {name: tuner, max_nodes: 0}}",
            "arms.x.coder.max_nodes must be a whole number",
        ),
        ("+arms.x=oracle", "arms.x must hold keys and values, got 'oracle'"),
        ("+arms.x={coder: [oracle]}", "arms.x.coder must hold keys and values"),
        ("+arms.My-Arm={coder: oracle}", "arm 'My-Arm' names a folder: use lower-case letters"),
        ("+arms.x={coder: {moves: 3}}", "arms.x.coder must say which: write arms.x.coder.name"),
        ("arms=null", "arms must name at least one arm, got None"),
        ("audit=null", "audit must hold keys and values, got None"),
        ("references=5", "references must hold keys and values, got 5"),
        ("scaffold=null", "unknown scaffold 'null'; nearest is"),
        ("scaffold=[1]", "unknown scaffold '[1]'; nearest is"),
        ("+scaffold.n_node=1", "unknown key 'n_node' in scaffold; nearest is 'n_nodes'"),
        ("~scaffold.n_nodes", "scaffold.n_nodes must be a whole number of at least 1, got None"),
        ("hardware.timeout_s=x", "hardware.timeout_s must be a number above 0, got 'x'"),
        ("hardware.memory_mb=0", "hardware.memory_mb must be a number above 0, got 0"),
        ("~budget.trial", "budget.trial must hold keys and values, got None"),
        ("name=a/b", "name names a folder: use letters, digits, _ and - alone, got 'a/b'"),
    ],
)
def test_a_bad_value_is_one_line_that_names_its_key(
    config: Path, override: str, message: str
) -> None:
    with pytest.raises(SpeedrunError) as caught:
        sweep.load(config, "quickstart", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("coder", ["null", "oracle", "tuner", "replay"])
def test_a_coder_that_asks_no_model_is_given_none(config: Path, tmp_path: Path, coder: str) -> None:
    own = tmp_path / "config"
    shutil.copytree(config, own)
    text = "name: mine\nkind: openai_compatible\nmodel: m\nbase_url: http://h/v1\n"
    (own / "model/mine.yaml").write_text(text)
    with pytest.raises(SpeedrunError, match=f"model 'mine' to coder '{coder}', which asks no"):
        sweep.load(own, "quickstart", [f"+arms.x={{coder: '{coder}', model: mine}}"])
    (own / "coder/asks.yaml").write_text("name: asks\nkind: direct\n")
    arm = sweep.load(own, "quickstart", ["+arms.x={coder: asks, model: mine}"])["arms"]["x"]
    assert arm["model"] == {"name": "mine", "kind": "openai_compatible", "model": "m"}


@pytest.mark.parametrize(
    "arms", [["+arms.x={coder: direct, model: vllm}"], ["judge=model", "judge.model=vllm"]]
)
def test_a_key_where_its_name_belongs_is_refused_and_not_shown(
    config: Path, arms: list[str]
) -> None:
    sweep.load(config, "quickstart", arms)
    with pytest.raises(SpeedrunError, match="never a key itself") as caught:
        sweep.load(config, "quickstart", [*arms, "+models.vllm.api_key_env=gsk_abc123"])
    assert "gsk_abc123" not in str(caught.value)


def test_an_unquoted_null_is_the_null_coder(config: Path) -> None:
    arms = sweep.load(config, "quickstart", ["+arms.x={coder: null}"])["arms"]
    assert arms["x"] == arms["null"]


def test_one_task_needs_no_list(config: Path) -> None:
    one = sweep.load(config, "quickstart", ["tasks=r07-r08"])
    listed = sweep.load(config, "quickstart", ["tasks=[r07-r08]"])
    assert plan.trials(one) == plan.trials(listed)
    assert {trial.task for trial in plan.trials(one)} == {"r07-r08"}


def test_every_arm_of_a_plan_fits_the_wildcard_of_the_workflow(config: Path) -> None:
    trials = plan.trials(sweep.load(config, "quickstart", ["+arms.l1_x9={coder: oracle}"]))
    folders = {Path(trial.folder).parent.name for trial in trials}
    assert all(re.fullmatch(plan.ARM_NAME + r"-[0-9a-f]{8}", name) for name in folders)
    assert any(name.startswith("l1_x9-") for name in folders)


def test_a_judging_model_must_be_filled_in(config: Path, tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match="model 'openai_compatible' has no value for base_url"):
        sweep.load(config, "quickstart", ["judge=model"])
    own = tmp_path / "config"
    shutil.copytree(config, own)
    text = (config / "model/openai_compatible.yaml").read_text(encoding="utf-8")
    (own / "model/mine.yaml").write_text(text.replace("???", "http://localhost:8000/v1"))
    resolved = sweep.load(own, "quickstart", ["judge=model", "judge.model=mine"])
    assert resolved["judge"]["model"]["name"] == "mine"
    assert "base_url" not in resolved["judge"]["model"]
    assert resolved["models"]["mine"]["base_url"] == "http://localhost:8000/v1"


@pytest.mark.parametrize(("given", "expected"), [("a=1", ["a=1"]), (["a=1"], ["a=1"]), ("", [])])
def test_overrides_may_be_a_string_or_a_list(given: object, expected: list[str]) -> None:
    assert sweep.as_overrides(given) == expected


def test_overrides_of_another_kind_show_how_to_write_them() -> None:
    with pytest.raises(SpeedrunError, match=r"scaffold\.n_nodes=4"):
        sweep.as_overrides({"scaffold": 1})


def test_a_larger_budget_keeps_every_folder(config: Path) -> None:
    small = plan.trials(sweep.load(config, "quickstart", ["scaffold.n_nodes=1"]))
    large = plan.trials(sweep.load(config, "quickstart", ["scaffold.n_nodes=9"]))
    assert [trial.folder for trial in small] == [trial.folder for trial in large]
    assert [trial.n_nodes for trial in small] != [trial.n_nodes for trial in large]


def test_what_decides_an_arm_changes_its_folder(config: Path) -> None:
    base = plan.trials(sweep.load(config, "quickstart", []))
    for override in ("scaffold=flat", "hardware.trainer=simulated", "seeds=[7]"):
        other = plan.trials(sweep.load(config, "quickstart", [override, "scaffold.n_nodes=2"]))
        pairs = zip(base, other, strict=True)
        assert all(a.folder != b.folder for a, b in pairs if a.name == "tuner")


def test_an_arm_may_change_its_coder_and_scaffold(config: Path) -> None:
    override = "+arms.x={coder: {name: tuner, factor: 9}, scaffold: flat}"
    arm = sweep.load(config, "quickstart", [override])["arms"]["x"]
    assert arm["coder"]["factor"] == 9 and arm["coder"]["moves"] > 0
    assert arm["scaffold"]["name"] == "flat" and "n_nodes" not in arm["scaffold"]


def test_a_scaffold_with_a_name_loads_that_option_first(config: Path) -> None:
    base = "{coder: tuner, scaffold: {name: flat%s}}"
    overrides = ["scaffold.n_nodes=5", f"+arms.x={base % ''}", f"+arms.y={base % ', n_nodes: 7'}"]
    arms = sweep.load(config, "quickstart", overrides)["arms"]
    flat = {"name": "flat", "n_initial": None, "n_branch": 1}
    assert arms["x"]["scaffold"] == arms["y"]["scaffold"] == flat
    assert (arms["x"]["n_nodes"], arms["y"]["n_nodes"]) == (5, 7)


def test_a_stage_sees_only_its_slice(config: Path) -> None:
    base = plan.as_dict(sweep.load(config, "quickstart", []))
    other = plan.as_dict(sweep.load(config, "quickstart", ["embedder=lexical"]))
    task = base["tasks"][0]["task"]
    for stage in ("audit", "judge", "score"):
        assert plan.task_slice(base, stage, task) == plan.task_slice(other, stage, task)
    sliced = plan.task_slice(base, "similarity", task)
    assert sliced != plan.task_slice(other, "similarity", task)
    assert {trial["task"] for trial in sliced["trials"]} == {task}


def test_missing_hints_are_named_before_any_job(config: Path, tmp_path: Path) -> None:
    resolved = sweep.load(config, "nano", ["+arms.told={coder: 'null', hints: l2}"])
    for record in resolved["track"]["records"]:
        script = tmp_path / "tracks" / "nano" / "records" / record / "train.py"
        script.parent.mkdir(parents=True)
        script.touch()
    missing = r"l2 of task nano/r01-r02 is missing or empty: write .*/r01-r02/l2_description\.md,"
    hint = tmp_path / "hints/nano/r01-r02/l2_description.md"
    hint.parent.mkdir(parents=True)
    (hint.parent / "l2_notes.md").write_text("A name that the task stage does not read.")
    for text in (None, " \n"):
        if text is not None:
            hint.write_text(text)
        with pytest.raises(SpeedrunError, match=missing):
            sweep.check_inputs(tmp_path, resolved)
    hint.write_text("Warm up longer.")
    short = r"l2 of task nano/r01-r02 has 3 words of the 150 or more: write hints/nano/r01-r02/l2_"
    with pytest.raises(SpeedrunError, match=short):
        sweep.check_inputs(tmp_path, resolved)
    hint.write_text("Warm up longer. " * 50)
    with pytest.raises(SpeedrunError, match=r"l2 of task nano/r02-r03 is missing"):
        sweep.check_inputs(tmp_path, resolved)
    (tmp_path / "tracks/nano/records/r02/train.py").unlink()
    with pytest.raises(SpeedrunError, match=r"records: .*r02/train.py is missing"):
        sweep.check_inputs(tmp_path, resolved)


def test_the_simulated_trainer_knows_the_target(config: Path) -> None:
    resolved = sweep.load(config, "nano", ["hardware.trainer=simulated"])
    spec = specs.train(resolved)
    assert spec["environment"] == {"SIMULATED_TARGET": str(resolved["track"]["target_loss"])}
