"""What a sweep will take: jobs as Snakemake plans them, and device hours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimate_sweeps import LOADED, MODEL, loader
from speedrun import estimate, files, jobs, plan, search
from speedrun.adapters import forecast, sweep
from speedrun.adapters.facts import Facts
from speedrun.estimate import Share
from workflow_runs import planned, run


@pytest.fixture
def load(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LOADED:
    """Load a sweep, in a working directory where nothing has been measured."""
    monkeypatch.chdir(tmp_path)
    return loader(repository)


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
