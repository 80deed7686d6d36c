"""What a sweep's models will be asked and what that costs: tokens, prices, caps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from estimate_sweeps import LOADED, MODEL, loader
from speedrun import estimate, files, plan
from speedrun.adapters import forecast
from speedrun.adapters.facts import START_CHARS, Facts
from speedrun.estimate import Asked


@pytest.fixture
def load(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LOADED:
    """Load a sweep, in a working directory where nothing has been measured."""
    monkeypatch.chdir(tmp_path)
    return loader(repository)


def arm_trial(load: LOADED, words: str, *more: str) -> plan.Trial:
    config = load("quickstart", f"+arms.x={{{words}}}", "scaffold.n_nodes=20", *more)
    return next(trial for trial in plan.trials(config) if trial.name == "x")


def test_prompts_grow_with_the_attempts_that_they_show(load: LOADED) -> None:
    flat = estimate.asked_of_model(arm_trial(load, f"{MODEL}, scaffold: flat"), 10_000)
    tree = estimate.asked_of_model(arm_trial(load, f"{MODEL}, scaffold: tree"), 10_000)
    assert flat.calls == tree.calls == pytest.approx(20 * estimate.TURNS["direct"])
    assert flat.tokens_out == tree.tokens_out
    first = (estimate.PROMPT_CHARS + 10_000) / estimate.CHARS_A_TOKEN
    turns = estimate.TURNS["direct"]
    again = estimate.TURN_TOKENS * turns * (turns - 1) / 2
    assert flat.tokens_in == pytest.approx(20 * (first * turns + again))
    assert tree.tokens_in > 1.5 * flat.tokens_in


def test_options_are_paid_for(load: LOADED) -> None:
    def asked(words: str) -> Asked:
        return estimate.asked_of_model(arm_trial(load, f"{MODEL}{words}"), 10_000)

    plain = asked("")
    assert asked(", preflight: true").calls > plain.calls
    assert asked(", retrieval: docs").tokens_in > plain.tokens_in


def test_what_every_prompt_shows_is_measured(load: LOADED, repository: Path) -> None:
    config = load("quickstart", f"+arms.x={{{MODEL}, hints: l1+l2}}", f"+arms.y={{{MODEL}}}")
    facts = Facts(repository, config)
    chars = {trial.name: facts.shown_chars(trial) for trial in plan.trials(config)}
    start = (repository / "tracks/micro/records/r07/train.py").stat().st_size
    hints = repository / "hints/micro/r07-r08"
    told = sum((hints / name).stat().st_size for name in ("l1_pseudocode.md", "l2_description.md"))
    assert (chars["y"], chars["x"]) == (start, start + told)
    upstream = load("nanogpt", "tasks=[r12-r13]")
    assert Facts(repository, upstream).start_chars == {"r12-r13": START_CHARS}
    fetched = Path("results/records/nanogpt/r12/files/train_gpt.py")
    fetched.parent.mkdir(parents=True)
    fetched.write_text("x" * 123)
    assert Facts(repository, upstream).start_chars == {"r12-r13": 123}


PRICES = "prices: {usd_per_million_in: 1.0, usd_per_million_out: 10.0}"


def spend(repository: Path, config: dict[str, Any]) -> forecast.Forecast:
    return forecast.forecast(repository, config)


def test_dollars_are_tokens_times_prices(load: LOADED, repository: Path) -> None:
    config = load("quickstart", f"+arms.x={{{MODEL}}}", f"+models.vllm={{{PRICES}}}")
    found = spend(repository, config)
    one = found.models["vllm"]
    assert one.usd == pytest.approx(
        one.asked.tokens_in / 1e6 + one.asked.tokens_out / 1e5, rel=0.01
    )
    worst = 2 * 2 * (65_536 / 1e6 + 16_384 / 1e5)  # nodes, asks: whole context in, longest reply
    assert one.usd_worst == pytest.approx(worst) == found.usd_worst
    assert found.tokens_worst == 2 * 2 * (65_536 + 16_384)


@pytest.mark.parametrize(
    ("caps", "usd"),
    [
        (["budget.trial.usd=0.1"], 0.1),
        (["budget.sweep.usd=0.05", "budget.trial.usd=0.1"], 0.05),
        (["budget.trial.usd=99"], 2 * 2 * (65_536 / 1e6 + 16_384 / 1e5)),
    ],
)
def test_a_cap_bounds_the_dollars(
    load: LOADED, repository: Path, caps: list[str], usd: float
) -> None:
    config = load("quickstart", f"+arms.x={{{MODEL}}}", f"+models.vllm={{{PRICES}}}", *caps)
    assert spend(repository, config).usd_worst == pytest.approx(usd)


def test_an_agent_is_bounded_by_its_requests_or_their_default(
    load: LOADED, repository: Path
) -> None:
    config = load("quickstart", f"+arms.x={{{MODEL}}}", f"+models.vllm={{{PRICES}}}")
    agent = {"name": "mine", "kind": "command", "command": ["agent"]}
    for said, most in (({}, 100), ({"max_requests": 7}, 7)):
        x = {**config["arms"]["x"], "coder": agent | said}
        found = spend(repository, {**config, "arms": {"x": x}})
        assert found.tokens_worst == 2 * most * (65_536 + 16_384)


def test_an_unknown_price_is_said(load: LOADED, repository: Path) -> None:
    changed = "+models.vllm={prices: null, context_tokens: null}"
    arms = [f"+arms.x={{{MODEL}}}", changed]
    found = spend(repository, load("quickstart", *arms))
    one = found.models["vllm"]
    assert one.usd is None and one.usd_worst is None and found.usd_worst is None
    assert one.asked.tokens_in > 0


def test_finished_nodes_are_measured(load: LOADED, repository: Path) -> None:
    config = load("quickstart", f"+arms.x={{{MODEL}}}", f"+models.vllm={{{PRICES}}}")
    for node, (given_, out) in enumerate([(1000, 100), (3000, 300)], 1):
        folder = Path(f"results/trials/micro/r05-r06/old-00000000/s0/node_{node}")
        record = {"params": {"coder": "direct", "model": "vllm"}}
        files.write_json(folder / "generate.record.json", record)
        calls = [{"purpose": "node", "tokens_in": given_ / 2, "tokens_out": out / 2}] * 2
        calls.append({"purpose": "summary", "tokens_in": 9e9, "tokens_out": 9e9})
        text = "".join(json.dumps(call) + "\n" for call in calls)
        files.write_text(folder / "calls.jsonl", text)
    one = spend(repository, config).models["vllm"]
    assert one.measured_nodes == 2
    assert one.asked == Asked(4, 4000, 400)
    assert one.usd == pytest.approx(4000 / 1e6 + 400 / 1e5)


def test_the_judges_model_is_counted(load: LOADED, repository: Path, tmp_path: Path) -> None:
    config = load("quickstart", "judge=model", "judge.model=vllm")
    found = spend(repository, config)
    judge = found.models["judge: vllm"]
    assert judge.asked.calls == 5 and judge.usd == 0
