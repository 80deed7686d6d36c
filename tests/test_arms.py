"""Arms: what a line of configuration becomes, its folder's name, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speedrun import files, plan, specs
from speedrun.adapters import arms, sweep
from written_arms import ASKS, arm, load, message, own_configuration, whole, wrong

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
    return own_configuration(repository, tmp_path_factory.mktemp("own"))


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
