"""What `speedrun plan` says: jobs as Snakemake plans them, device hours, dollars, and its words."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun import estimate, files, jobs, plan, search
from speedrun.adapters import forecast, sweep
from speedrun.adapters.facts import START_CHARS, Facts
from speedrun.cli import main
from speedrun.estimate import Asked, Share
from workflow_runs import planned, run

MODEL = "coder: direct, model: vllm"
LOADED = Callable[..., dict[str, Any]]


@pytest.fixture
def load(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LOADED:
    """Load a sweep, in a working directory where nothing has been measured."""
    monkeypatch.chdir(tmp_path)
    return lambda name, *overrides: sweep.load(repository / "config", name, list(overrides))


# --- jobs ---
@pytest.mark.dag
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("nano", []),
        ("quickstart", ["seeds=[0,1]", "scaffold.n_nodes=5", "references.runs=3"]),
        (
            "nano",
            [
                f"+arms.asks={{{MODEL}, scaffold: multi_aide, summary: model, preflight: true}}",
                f"+arms.chain={{{MODEL}, scaffold: tree, mode: cumulative, summary: model}}",
                "scaffold.n_nodes=7",
                "seeds=[0,1]",
            ],
        ),
        ("nanogpt", ["tasks='number in (8, 9, 22)'", "references.runs=2"]),
    ],
)
def test_jobs_are_those_that_snakemake_plans(
    tmp_path: Path, repository: Path, name: str, overrides: list[str]
) -> None:
    done = run(tmp_path, "-n", sweep=name, overrides=overrides)
    assert done.returncode == 0, done.stderr[-2000:]
    from_scratch = planned(done.stdout + done.stderr)
    total = from_scratch.pop("total")
    counted = jobs.count(sweep.load(repository / "config", name, overrides))
    assert dict(counted) == from_scratch and sum(counted.values()) == total


@pytest.mark.dag
def test_a_cell_needs_no_more_than_its_trials(tmp_path: Path) -> None:
    done = run(tmp_path, "-n", "trials", overrides=["only={arm: tuner}"])
    assert done.returncode == 0, done.stderr[-2000:]
    from_scratch = planned(done.stdout + done.stderr)
    assert from_scratch["train"] == 4
    assert not {"audit", "score", "judge", "report"} & set(from_scratch)


def test_the_papers_grid_is_counted_whole(load: LOADED) -> None:
    config = load("paper_main")
    found = forecast.forecast(Path(__file__).parents[1], config)
    assert (found.trials, found.nodes) == (6840, 136_800)
    assert found.jobs["train"] == found.jobs["generate"] == 136_800
    assert set(found.models) == {"o3_mini", "deepseek_r1", "gemini_2_5_pro", "claude_3_7_sonnet"}


@pytest.mark.parametrize(
    ("name", "changes", "unjudged"),
    [
        ("quickstart", [], 0),
        ("micro", [], 3),
        ("nano", [], 2),
        ("paper19", [], 0),  # oracle and null: their code is a record's
        ("paper_main", [], 19),
        ("paper_main", ["judge=model", "judge.model=o3_mini"], 0),
    ],
)
def test_winners_that_nobody_judges_are_told(
    load: LOADED, repository: Path, name: str, changes: list[str], unjudged: int
) -> None:
    assert forecast.forecast(repository, load(name, *changes)).unjudged == unjudged


@given(n_nodes=st.integers(1, 40), first=st.integers(1, 5), later=st.integers(1, 5))
def test_a_summary_is_made_where_a_later_node_reads_it(
    n_nodes: int, first: int, later: int
) -> None:
    scaffold = {"name": "x", "n_initial": first, "n_branch": later}
    trial = plan.Trial("t", "a", "f", {"scaffold": scaffold}, 0, n_nodes)
    typed = search.scaffold(scaffold)
    read = {seen for node in range(1, n_nodes + 1) for seen in search.earlier_nodes(typed, node)}
    assert jobs.summarised(trial) == len(read)
    assert sum(jobs.generation_sizes(trial)) == n_nodes


# --- device hours ---
def measured(config: dict[str, Any], record: str, seconds: list[float]) -> None:
    """Leave finished reference runs of a record in the working directory."""
    task = next(task for task in plan.tasks(config) if record in (task.start, task.target))
    for folder, value in zip(plan.references(config, task)[record], seconds, strict=False):
        files.write_json(Path(folder, "analysis.json"), {"device_seconds": value})


def test_measured_references_come_first(load: LOADED, repository: Path) -> None:
    config = load("nano", "references.runs=2")
    before = Facts(repository, config)
    assert {origin for _, origin in before.times.values()} == {"record.yaml"}
    measured(config, "r01", [7.2, 3.6])
    times = Facts(repository, config).times
    (task, _) = plan.tasks(config)
    assert times[plan.references(config, task)["r01"][0]] == (1.5e-3, "measured here")
    assert sum(origin == "measured here" for _, origin in times.values()) == 1


def test_published_times_count_every_card_and_the_slowdown(load: LOADED, repository: Path) -> None:
    one = load("nanogpt", "tasks=[r12-r13]", "hardware=1xh200")
    eight = load("nanogpt", "tasks=[r12-r13]")
    for config, cards, slowdown in ((one, 1, 7.0), (eight, 8, 1.0)):
        (task,) = plan.tasks(config)
        hours, origin = Facts(repository, config).times[plan.references(config, task)["r12"][0]]
        assert origin == "published"
        assert hours == pytest.approx(5.03 / 60 * cards * slowdown)
        measured(config, "r12", [600.0])
        hours, origin = Facts(repository, config).times[plan.references(config, task)["r12"][0]]
        assert (hours, origin) == (pytest.approx(cards / 6), "measured here")


def test_device_hours_add_up(load: LOADED) -> None:
    config = load("nano", "tasks=[r01-r02]", "references.runs=2", "audit.rounds=3", "seeds=[0,1]")
    (task,) = plan.tasks(config)
    folders = plan.references(config, task)
    shares = estimate.device_hours(config, {folders["r01"][0]: 0.01, folders["r02"][0]: 0.002})
    cap = 60 / 3600
    nodes, trials = 2 * (1 + 1 + 2), 6
    assert shares["nodes"] == Share(nodes, pytest.approx(nodes * 0.01), pytest.approx(nodes * cap))
    assert shares["references"] == Share(4, pytest.approx(0.024), pytest.approx(4 * cap))
    audits = 3 * (2 + trials)
    expected = 3 * (0.01 * (1 + trials) + 0.002)
    assert shares["audit"] == Share(audits, pytest.approx(expected), pytest.approx(audits * cap))
    assert shares["preflight"] == Share(0, 0.0, 0.0)


def test_reused_references_noise_and_hold_out_are_counted(load: LOADED) -> None:
    """Two tasks share a record, which runs on noise and on hold-out once."""
    policy = ("references=reused", "drift_rounds=2", "noise_runs=2", "holdout_runs=1", "rounds=5")
    chosen = ["tasks=[r01-r02,r02-r03]", *(f"audit.{one}" for one in policy)]
    config = load("nano", *chosen)
    hours = {
        folders[0]: {"r01": 0.01, "r02": 0.002, "r03": 0.001}[record]
        for task in plan.tasks(config)
        for record, folders in plan.references(config, task).items()
    }
    winners = sum(trial.task == "r01-r02" for trial in plan.trials(config))
    found = estimate.device_hours(config, hours)["audit"]
    each = 5 + 2 + 1  # of a winner
    assert found.runs == 2 * (winners * each + 2) + 3 * 3
    mine = (winners * each + 2) * (0.01 + 0.002)
    assert found.expected == pytest.approx(mine + 3 * (0.01 + 0.002 + 0.001))
    simulated = load("nano", *chosen, "hardware.trainer=simulated")
    assert estimate.device_hours(simulated, hours)["audit"].runs == 2 * (winners * 5 + 2)


@pytest.mark.parametrize(
    ("cap", "runs"),
    [
        ("null", 2 * (1 + 1 + 2) + 4 + 3 * (2 + 6)),  # nodes, references, audit
        ("0.2", 12),
        ("0.01", 4),  # references are not stopped
    ],
)
def test_a_sweep_s_cap_bounds_all_but_its_references(
    cap: str, runs: int, load: LOADED, repository: Path
) -> None:
    chosen = ["tasks=[r01-r02]", "references.runs=2", "audit.rounds=3", "seeds=[0,1]"]
    config = load("nano", *chosen, f"budget.sweep.device_hours={cap}")
    found = forecast.forecast(repository, config)
    assert found.device_hours_worst == pytest.approx(runs * 60 / 3600)


def test_an_unknown_time_is_said_and_not_guessed(load: LOADED) -> None:
    config = load("nano", "tasks=[r01-r02]")
    (task,) = plan.tasks(config)
    known = {plan.references(config, task)["r02"][0]: 0.001}
    shares = estimate.device_hours(config, known)
    assert shares["nodes"].unknown == shares["nodes"].runs == 4
    assert shares["nodes"].expected == 0 and shares["nodes"].worst > 0
    assert 0 < shares["audit"].unknown < shares["audit"].runs


def test_a_preflight_costs_its_cap(load: LOADED) -> None:
    arm = f"+arms.x={{{MODEL}, preflight: {{timeout_s: 36}}}}"
    config = load("nano", arm, "+hardware.world_size=2", "tasks=[r01-r02]")
    shares = estimate.device_hours(config, {})
    assert shares["preflight"] == Share(2, pytest.approx(0.04), pytest.approx(0.04))
    whole = load("nano", arm, "tasks=[r01-r02]", "hardware.timeout_s=18")  # no more than a run
    assert estimate.device_hours(whole, {})["preflight"].worst == pytest.approx(0.01)


@given(
    each=st.lists(st.none() | st.floats(0, 1e6), max_size=20),
    trial=st.none() | st.floats(0.01, 1e5),
    whole=st.none() | st.floats(0.01, 1e5),
)
def test_caps_only_lower_the_worst_case(
    each: list[float | None], trial: float | None, whole: float | None
) -> None:
    most = estimate.capped(each, trial, whole)
    assert most <= estimate.capped(each, None, None)
    assert trial is None or most <= trial * len(each) * (1 + 1e-9)
    assert whole is None or most <= whole
    if trial is None and whole is None:
        assert math.isinf(most) == (None in each)


# --- dollars ---
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


# --- the verb ---
def said(capsys: pytest.CaptureFixture[str], repository: Path, *words: str) -> str:
    assert main(["plan", *words, "--repository", str(repository)]) == 0
    return capsys.readouterr().out


def test_the_verb_says_it_in_words(
    load: LOADED, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, repository, "sweep=paper_main", "budget.sweep.usd=500")
    for part in (
        "6,840 trials = 19 tasks x 120 arms x 3 seeds, 136,800 nodes",
        "run cells, as",
        "snakemake trials --config sweep=paper_main",
        "GPU hours",
        "published x slowdown 1",
        "o3_mini",
        "budget a sweep: usd 500, tokens no cap, device_hours no cap",
        "USD 500.00",
    ):
        assert part in text
    small = said(capsys, repository, "sweep=nano", "seeds=[0,1]")
    assert "12 trials = 2 tasks x 3 arms x 2 seeds" in small
    assert "run cells" not in small and "models" not in small and "CPU hours" in small


def test_the_verb_writes_json(
    load: LOADED, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(said(capsys, repository, "sweep=nano", "--json"))
    assert found["trials"] == 6 and found["jobs"]["train"] == 8
    assert set(found["device_hours"]) == {"nodes", "preflight", "references", "audit"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nano"], "'nano' is no key=value: write speedrun plan sweep=nano"),
        (["sweep=nan"], "unknown sweep 'nan'; nearest is 'nano'"),
        (["sweep=nano", "sceds=[1]"], "unknown key 'sceds'; nearest is 'seeds'"),
        (["sweep=nano", "+arms.x={coder: tuner, hints: l2}"], "l2 of task nano/r01-r02 is missing"),
    ],
)
def test_a_wrong_word_is_one_line(
    load: LOADED,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main(["plan", *words, "--repository", str(repository)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_outside_a_repository_it_says_where_to_go(
    load: LOADED, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "sweep=nano"]) == 1
    assert "no config/ in .: go there, or give --repository" in capsys.readouterr().err


def test_a_pager_may_be_closed_early(repository: Path) -> None:
    words = [sys.executable, "-m", "speedrun", "plan", "sweep=nano", "--repository", repository]
    asked = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asked.stdout is not None and asked.stderr is not None
    asked.stdout.close()
    complaint = asked.stderr.read()
    asked.stderr.close()
    assert (asked.wait(), complaint) == (0, b"")
