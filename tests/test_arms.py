"""Arms and grids: what a line of configuration becomes, and what a wrong one is told."""

from __future__ import annotations

import functools
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from speedrun import files, plan, specs
from speedrun.adapters import arms, coder_options, grid, hydra_config, sweep
from speedrun.files import SpeedrunError

ASKS = "coder: direct, model: ollama"
# Folders that existed before there were modes, models' operational keys and options: results of
# finished sweeps lie in them.
FOLDERS = {
    "quickstart": [
        "micro/r07-r08/null-af1d24d4",
        "micro/r07-r08/oracle-e9b1a00e",
        "micro/r07-r08/replay_l1-25c1842f",
        "micro/r07-r08/replay_none-a6d8ba65",
        "micro/r07-r08/tuner-0cf7a58c",
    ],
    "nano": [
        "nano/r01-r02/null-4476e280",
        "nano/r01-r02/oracle-45e7eac3",
        "nano/r01-r02/tuner-dbbbc5e2",
    ],
}


@pytest.fixture(scope="module")
def own(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's configuration, with documents of its own."""
    base = tmp_path_factory.mktemp("own")
    shutil.copytree(repository / "config", base / "config")
    shutil.copytree(repository / "tracks", base / "tracks")
    (base / "knowledge/micro").mkdir(parents=True)
    (base / "knowledge/micro/matmul.md").write_text("# Matrix products\n")
    (base / "knowledge/micro/empty.md").write_text(" \n")
    (base / "knowledge/notes.json").write_text("{}")
    return base


def load(own: Path, *overrides: str, name: str = "quickstart") -> dict[str, Any]:
    return sweep.load(own / "config", name, list(overrides))


@functools.cache
def quickstart(own: Path) -> dict[str, Any]:
    """The sweep as it is written, before its arms are resolved."""
    return hydra_config.load(own / "config", "quickstart")


@functools.cache
def whole(own: Path) -> dict[str, Any]:
    return load(own)


def arm(own: Path, words: str) -> dict[str, Any]:
    """What an arm resolves to that a sweep writes as ``{words}``."""
    return arms.resolve(own / "config", quickstart(own), "x", yaml.safe_load(f"{{{words}}}"))


def wrong(own: Path, words: str) -> str:
    with pytest.raises(SpeedrunError) as caught:
        arm(own, words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def message(own: Path, *overrides: str, name: str = "quickstart") -> str:
    with pytest.raises(SpeedrunError) as caught:
        load(own, *overrides, name=name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what existing results are called ---
@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_finished_sweeps_keep_their_names(repository: Path, name: str) -> None:
    trials = plan.trials(sweep.load(repository / "config", name, []))
    folders = {str(Path(trial.folder).parent.relative_to("results/trials")) for trial in trials}
    assert folders >= set(FOLDERS[name])


def test_every_arm_of_paper19_keeps_its_name(repository: Path) -> None:
    trials = plan.trials(sweep.load(repository / "config", "paper19", []))
    assert files.digest_value(sorted(trial.folder for trial in trials)) == PAPER19


PAPER19 = "1a3a50a3690441f67bfb9bb6619beb1910a99b8dcd681cbc2c9b72417f202fc6"


# --- options ---
def test_what_is_off_leaves_no_trace(own: Path) -> None:
    plain = arm(own, ASKS)
    off = "knowledge: null, retrieval: none, memory: none, summary: null, preflight: false"
    assert arm(own, f"{ASKS}, {off}, mode: reproduce, hints: none") == plain
    assert set(plain) == {"coder", "hints", "model", "scaffold", "mode", "n_nodes"}


@pytest.mark.parametrize(
    ("words", "key", "expected"),
    [
        ("knowledge: knowledge/micro/matmul.md", "knowledge", ["knowledge/micro/matmul.md"]),
        ("knowledge: [knowledge/micro/matmul.md]", "knowledge", ["knowledge/micro/matmul.md"]),
        ("retrieval: knowledge/micro", "retrieval", {"folder": "knowledge/micro", "top_k": 4}),
        (
            "retrieval: {folder: knowledge, top_k: 2}",
            "retrieval",
            {"folder": "knowledge", "top_k": 2},
        ),
        ("memory: scratchpad", "memory", "scratchpad"),
        ("summary: model", "summary", "model"),
        ("preflight: true", "preflight", {"timeout_s": 300}),
        ("preflight: {timeout_s: 20}", "preflight", {"timeout_s": 20}),
        ("mode: optimize", "mode", "optimize"),
    ],
)
def test_an_option_is_part_of_the_arm_and_of_its_folder(
    own: Path, words: str, key: str, expected: Any
) -> None:
    found = arm(own, f"{ASKS}, {words}")
    assert found[key] == expected
    config = {**whole(own), "arms": {"x": found, "y": arm(own, ASKS)}}
    digests = {Path(trial.folder).parent.name[-8:] for trial in plan.trials(config)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "knowledge: knowledge/micro/matmull.md",
            "no document 'knowledge/micro/matmull.md' (.md or .txt); nearest is "
            "'knowledge/micro/matmul.md'",
        ),
        ("knowledge: knowledge/notes.json", "no document 'knowledge/notes.json'"),
        ("knowledge: knowledge/micro/empty.md", "knowledge/micro/empty.md is empty: write it"),
        ("knowledge: ../../etc/hosts.txt", "must lie in the repository"),
        ("knowledge: /etc/hosts.txt", "must lie in the repository"),
        ("knowledge: []", "knowledge must be a list of documents, got []"),
        ("knowledge: [3]", "knowledge must be a list of documents"),
        ("retrieval: knowledge/macro", "no folder of documents 'knowledge/macro'; nearest is"),
        ("retrieval: {folder: knowledge, k: 2}", "unknown key 'k' in arms.x.retrieval; nearest is"),
        ("retrieval: {folder: knowledge, top_k: 0}", "top_k must be a whole number of at least 1"),
        ("retrieval: {top_k: 1}", "retrieval.folder must name a folder, got None"),
        ("retrieval: ''", "retrieval: . holds hints or answers: put documents into knowledge/"),
        ("retrieval: hints/micro", "hints/micro holds hints or answers: put documents into"),
        ("knowledge: hints/micro/r07-r08/l1_pseudocode.md", "holds hints or answers"),
        ("memory: scratchbad", "unknown memory 'scratchbad' in arms.x.memory; nearest is 'scratch"),
        ("summary: long", "unknown summary 'long' in arms.x.summary; nearest is 'model'"),
        ("preflight: {timeout: 3}", "unknown key 'timeout' in arms.x.preflight; nearest is 'time"),
        ("preflight: {timeout_s: 0}", "preflight.timeout_s must be a whole number of at least 1"),
        ("preflight: 3", "preflight must hold keys and values, got 3"),
        ("mode: optimize, hints: l1", "gives hints to mode optimize"),
        ("mode: optimise", "unknown mode 'optimise' in arm 'x'; nearest is 'optimize'"),
        ("hints: [l1, l4]", "unknown hints 'l1+l4'; nearest is 'l1"),
        ("memoir: scratchpad", "unknown key 'memoir' in arm 'x'; nearest is 'memory'"),
        ("scaffold: {name: aide, p_debug: 2}", "scaffold.p_debug must be from 0 to 1, got 2"),
        (
            "scaffold: {name: aide, max_debug_depth: 0}",
            "max_debug_depth must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_a_wrong_option_is_one_line(own: Path, words: str, expected: str) -> None:
    assert expected in wrong(own, f"{ASKS}, {words}")


@pytest.mark.parametrize(
    ("coder", "expected"),
    [
        ("command", "arms.x.coder.command lists nothing: give the agent's command line"),
        ("{name: mini_swe_agent, max_requests: many}", "must be of the kind of 100, got 'many'"),
        ("{name: mini_swe_agent, max_requests: true}", "must be of the kind of 100, got True"),
        ("{name: mini_swe_agent, max_requests: null}", "must be of the kind of 100, got None"),
        ("{name: mini_swe_agent, command: agent}", "coder.command must be of the kind of ["),
    ],
)
def test_a_coders_values_are_of_their_kind(own: Path, coder: str, expected: str) -> None:
    assert expected in wrong(own, f"coder: {coder}, model: ollama")
    fits = "{name: mini_swe_agent, max_requests: 7, time_limit_s: 60.5}"
    assert arm(own, f"coder: {fits}, model: ollama")["coder"]["max_requests"] == 7


MINE = {"name": "mine", "kind": "command", "command": ["agent", "{files}"], "needs_model": False}


def mine(own: Path, words: str, over: str = "") -> str:
    """Return an arm's line for an agent of one's own: its YAML's words, and the arm's."""
    (own / "config/coder/mine.yaml").write_text(yaml.safe_dump(MINE | yaml.safe_load(words)))
    return f"coder: {{name: mine, {over}}}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("time_limit: 3", "unknown key 'time_limit' in config/coder/mine.yaml; nearest is 'time_l"),
        ("time_limit_s: soon", "arms.x.coder (config/coder/mine.yaml): time_limit_s: expected f"),
        ("time_limit_s: 0", "arms.x.coder.time_limit_s must be a number above 0, got 0"),
        ("max_requests: 2.5", "max_requests: expected int, got 2.5"),
        ("command: agent --go", "command: expected list, got 'agent --go'"),
        ("command: [agent, 3]", "command: expected str, got 3"),
        ("command: null", "arms.x.coder.command lists nothing"),
        (
            "command: [agent, '{promt_file}']",
            "'promt_file' in arms.x.coder (config/coder/mine",
        ),
        ("environment: {URL: '{baseurl}'}", "placeholder 'baseurl'"),
        ("environment: {LEVEL: 3}", "environment: expected str, got 3"),
        ("sandbox: docker", "unknown sandbox 'docker' in arms.x.coder; nearest is"),
        ("shown: tools", "shown: expected list, got 'tools'"),
        ("kind: comand", "unknown kind 'comand' in config/coder/mine.yaml; nearest is 'command'"),
    ],
)
def test_a_wrong_agent_is_one_line(own: Path, words: str, expected: str) -> None:
    assert expected in wrong(own, mine(own, words))


def test_an_arm_may_set_whatever_an_agent_has(own: Path) -> None:
    """Every key of command.yaml, though the agent's YAML has few; a default is no other agent."""
    plain = arm(own, mine(own, "time_limit_s: 600"))["coder"]
    assert plain == {key: MINE[key] for key in ("name", "kind", "command")} | {"time_limit_s": 600}
    template = hydra_config.option(own / "config", "coder", "command")
    for key in sorted(set(template) - {"name", "kind", "command", "needs_model", "time_limit_s"}):
        said = yaml.safe_dump({key: template[key]}, default_flow_style=True).strip()[1:-1]
        assert arm(own, mine(own, "time_limit_s: 600", said))["coder"] == plain
    shorter = arm(own, mine(own, "{}", "time_limit_s: 60, max_nodes: 1"))
    assert (shorter["coder"]["time_limit_s"], shorter["n_nodes"]) == (60, 1)
    assert "nearest is 'time_limit_s'" in wrong(own, mine(own, "{}", "time_limit: 60"))
    assert "must be of the kind of 100" in wrong(own, mine(own, "{}", "max_requests: many"))


def test_the_template_says_the_defaults(repository: Path) -> None:
    template = hydra_config.option(repository / "config", "coder", "command")
    assert template == coder_options.keys({"name": "command", "kind": "command"})


def test_every_shipped_agent_passes(repository: Path, own: Path) -> None:
    for name in hydra_config.options(repository / "config", "coder"):
        option = hydra_config.option(own / "config", "coder", name)
        if option.get("kind") == "command" and option["command"]:
            model = ", model: ollama" if option["needs_model"] else ""
            found = arm(own, f"coder: {name}{model}")["coder"]
            unsaid = {"needs_model", "max_nodes"}
            assert {**option, **found} == option and set(option) - set(found) == unsaid


def test_what_an_agent_is_built_from_must_be_there(own: Path) -> None:
    config = whole(own)
    config = {**config, "arms": {"x": arm(own, mine(own, "requirements: mine.txt"))}}
    missing = r"coder mine: requirements workflow/envs/coders/mine\.txt is missing: write it"
    with pytest.raises(SpeedrunError, match=missing):
        sweep.check_inputs(own, config)
    (own / "workflow/envs/coders").mkdir(parents=True)
    (own / "workflow/envs/coders/mine.txt").write_text("my-agent==1.0\n")
    sweep.check_inputs(own, config)


@pytest.mark.parametrize("hints", ["l1+l2", "l2+l1", "[l1, l2]", "[l2, l1]"])
def test_levels_may_be_given_in_any_order(own: Path, hints: str) -> None:
    assert arm(own, f"{ASKS}, hints: {hints}") == arm(own, f"{ASKS}, hints: l1+l2")


@pytest.mark.parametrize("coder", ["null", "{name: null}", '{name: "null"}'])
def test_nothing_is_the_null_coder(own: Path, coder: str) -> None:
    assert arm(own, f"coder: {coder}")["coder"]["name"] == "null"


@pytest.mark.parametrize("option", ["preflight: true", "summary: model"])
def test_what_needs_a_model_is_refused_without_one(own: Path, option: str) -> None:
    said = wrong(own, f"coder: tuner, {option}")
    assert f"asks for {option.partition(':')[0]}, which needs a coder that asks a model" in said


# --- coders and models ---
def test_a_coder_that_asks_a_model_must_have_one(own: Path) -> None:
    said = wrong(own, "coder: direct")
    assert "coder 'direct' asks a model: give the arm one (valid: " in said
    assert "; with reproduce as --model NAME)" in said
    assert "which asks no model" in wrong(own, "coder: tuner, model: ollama")


def test_a_coder_says_itself_whether_it_needs_a_model(own: Path) -> None:
    (own / "config/coder/shell.yaml").write_text("name: shell\nkind: direct\nneeds_model: false\n")
    assert arm(own, "coder: shell")["coder"] == {"name": "shell", "kind": "direct"}
    assert arm(own, "coder: {name: shell, needs_model: true}, model: ollama")["model"]["model"]
    script = arm(own, "coder: {name: direct, needs_model: false}")
    assert script["model"] == {"name": "none", "kind": "none"}


def test_where_a_model_answers_is_no_part_of_the_arm(own: Path) -> None:
    here = load(own, f"+arms.x={{{ASKS}}}")
    there = load(
        own, f"+arms.x={{{ASKS}}}", "+models.ollama={base_url: 'http://other:1/v1', timeout_s: 9}"
    )
    assert plan.trials(here) == plan.trials(there)
    assert plan.as_dict(here) == plan.as_dict(there)
    assert set(here["arms"]["x"]["model"]) <= set(specs.MODEL_KEYS)
    reached = specs.operation(there)["models"]["ollama"]
    assert (reached["base_url"], reached["timeout_s"]) == ("http://other:1/v1", 9)
    assert reached["context_tokens"] == specs.operation(here)["models"]["ollama"]["context_tokens"]


def test_what_decides_a_reply_changes_the_folder(own: Path) -> None:
    base, cold = (
        load(own, f"+arms.x={{coder: direct, model: {model}}}")
        for model in ("ollama", "{name: ollama, temperature: 0}")
    )
    assert cold["arms"]["x"]["model"]["temperature"] == 0
    folders = [
        {trial.folder for trial in plan.trials(config) if trial.name == "x"}
        for config in (base, cold)
    ]
    assert not folders[0] & folders[1]


def test_a_budget_or_an_address_makes_no_product_again(own: Path) -> None:
    capped = load(own, "budget.trial.usd=2", "budget.sweep.device_hours=0.5")
    assert plan.as_dict(capped) == plan.as_dict(load(own))
    assert specs.operation(capped)["budget"] == {
        "trial": {"usd": 2, "tokens": None, "device_hours": None},
        "sweep": {"usd": None, "tokens": None, "device_hours": 0.5},
    }


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("budget.trial.usd=0", "budget.trial.usd must be a number above 0, or null, got 0"),
        ("budget.trial.usd=free", "budget.trial.usd must be a number above 0"),
        ("budget.sweep.tokens=true", "budget.sweep.tokens must be a number above 0"),
        ("+budget.trial.eur=3", "unknown key 'eur' in budget.trial; nearest is"),
        ("+budget.node.usd=3", "unknown key 'node' in budget; nearest is"),
        ("+models.olama={base_url: x}", "unknown key 'olama' in models; nearest is 'ollama'"),
        (
            "+models.ollama={baseurl: x}",
            "unknown key 'baseurl' in models.ollama; nearest is 'base_",
        ),
        (
            "+arms.x={coder: direct, model: {name: ollama, temprature: 1}}",
            "unknown key 'temprature' in the model of arm 'x'; nearest is 'temperature'",
        ),
    ],
)
def test_a_wrong_budget_or_model_is_one_line(own: Path, override: str, expected: str) -> None:
    assert expected in message(own, override)


def test_every_model_of_ours_is_read(repository: Path) -> None:
    """A key that nobody knows would silently be no part of the arm."""
    from speedrun.adapters.models import spec

    known = set(spec.ModelSpec.__dataclass_fields__)
    assert known == {*specs.MODEL_KEYS, *specs.OPERATIONAL_KEYS}
    for path in (repository / "config/model").glob("*.yaml"):
        if "???" not in path.read_text(encoding="utf-8"):
            assert arms.model_option(repository / "config", path.stem)["name"] == path.stem


# --- cumulative ---
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


# --- grids ---
GRID = "grid={coder: direct, model: [ollama, vllm], scaffold: [flat, aide], hints: [none, 'l1+l2']}"


def test_a_grid_is_every_combination(own: Path) -> None:
    found = load(own, "grid={coder: direct, model: [ollama, vllm], hints: [none, 'l1+l2']}")["arms"]
    names = {"ollama_none", "ollama_l1+l2", "vllm_none", "vllm_l1+l2"}
    assert set(found) - names == {"oracle", "null", "tuner", "replay_none", "replay_l1"}
    for name in names:
        model, _, hints = name.partition("_")
        assert found[name]["model"]["name"] == model
        assert "+".join(found[name]["hints"]) == hints.replace("none", "")


def test_an_arm_of_a_grid_is_the_same_as_one_written_out(own: Path) -> None:
    config = load(
        own, GRID, "+arms.aide={coder: direct, model: vllm, scaffold: aide, hints: l1+l2}"
    )
    assert config["arms"]["vllm_aide_l1+l2"] == config["arms"]["aide"]


VALUES = st.lists(st.text("aB-_+ 1", min_size=1, max_size=3) | st.none(), max_size=3)


@given(listed=st.dictionaries(st.sampled_from(grid.DIMENSIONS), VALUES, max_size=3))
def test_any_grid_is_all_its_combinations_or_one_line(listed: dict[str, list[Any]]) -> None:
    """Never fewer arms than combinations: two of one name would be one trial counted twice."""
    try:
        found = grid.expand({"arms": {"own": {}}, "grid": listed})
    except SpeedrunError as error:
        assert "\n" not in str(error)
    else:
        combinations = math.prod(len(values) for values in listed.values())
        assert len(found) == 1 + (combinations if listed else 0)
        assert all(re.fullmatch(plan.ARM_NAME, name) for name in found)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "grid={coder: direct, modell: [ollama]}",
            "unknown key 'modell' in grid; nearest is 'mode",
        ),
        ("grid={coder: direct, model: []}", "grid.model lists nothing"),
        ("grid={coder: direct, model: ollama}", "grid lists nothing: write e.g."),
        ("grid=[ollama]", "grid must hold keys and values"),
        ("grid={coder: [oracle, tuner], scaffold: tree}", "two arms are called 'oracle'"),
        ("grid={coder: direct, model: [ollama, olama]}", "unknown model 'olama'; nearest is"),
    ],
)
def test_a_wrong_grid_is_one_line(own: Path, override: str, expected: str) -> None:
    assert expected in message(own, override)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("{model: vllm}", 4),
        ("{model: [vllm, ollama], hints: [l1+l2]}", 4),
        ("{arm: [vllm_aide_none, tuner]}", 2),
        ("{arm: null}", 1),
        ("\"model == 'vllm' and hints != 'none'\"", 2),
        ("\"coder == 'tuner' or scaffold == 'flat' and model == 'ollama'\"", 3),
    ],
)
def test_only_picks_cells(own: Path, only: str, expected: int) -> None:
    config = load(own, GRID, f"only={only}")
    assert len(config["arms"]) == expected
    whole = load(own, GRID)
    assert {trial.folder for trial in plan.trials(config)} < {t.folder for t in plan.trials(whole)}
    assert config["name"] != whole["name"]
    assert specs.operation(config) == {
        **specs.operation(whole),
        "models": specs.operation(config)["models"],
    }


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("{modell: vllm}", "unknown key 'modell' in only; nearest is 'model'"),
        ("{model: vlm}", "only.model: no arm has 'vlm'; nearest is 'vllm'"),
        ("{model: vllm, coder: tuner}", "no arm matches only="),
        ("\"modell == 'vllm'\"", "unknown column 'modell'; nearest is 'model'"),
        ("\"model == 'gpt'\"", "no arm matches only="),
        ("model", "it is not true or false for each arm"),
        ("3", "only must hold keys and values, got 3"),
    ],
)
def test_a_wrong_cell_is_one_line(own: Path, only: str, expected: str) -> None:
    assert expected in message(own, GRID, f"only={only}")


def test_a_sweep_may_build_on_another_and_pick_cells_of_it(own: Path) -> None:
    text = "# @package _global_\ndefaults: [paper_main, _self_]\nonly: model == 'o3_mini'\n"
    (own / "config/sweep/mine.yaml").write_text(text)
    config = load(own, name="mine")
    assert config["whole"] == "paper_main" != config["name"]
    assert {arm["model"]["name"] for arm in config["arms"].values()} == {"o3_mini"}
    assert len(config["arms"]) == 30


def test_cells_cover_a_sweep_once(own: Path) -> None:
    whole = {trial.folder for trial in plan.trials(load(own, GRID))}
    cells = [
        {trial.folder for trial in plan.trials(load(own, GRID, f"only={{model: {model}}}"))}
        for model in ("none", "ollama", "vllm")
    ]
    assert set.union(*cells) == whole and sum(map(len, cells)) == len(whole)


def test_every_column_of_an_arm_can_be_asked_about(own: Path) -> None:
    words = f"{ASKS}, memory: scratchpad, knowledge: knowledge/micro/matmul.md"
    config = load(own, f"+arms.x={{{words}}}", "only='knowledge and memory == \"scratchpad\"'")
    assert list(config["arms"]) == ["x"]
    assert set(grid.row("x", config["arms"]["x"])) >= {"arm", "coder", "model", "mode", "summary"}
