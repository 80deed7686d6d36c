"""How a sweep audits: the track's policy under the sweep's own values, rules, and a reviewer."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedrun import jobs, plan, schema, trials
from speedrun.adapters import forecast, missing, sweep
from speedrun.files import SpeedrunError
from speedrun.rules import RULES

ROOT = Path(__file__).parents[1]
POLICY = ("rounds", "references", "drift_rounds", "noise_runs", "holdout_runs")


def audit(name: str, *overrides: str) -> dict[str, object]:
    found = sweep.load(ROOT / "config", name, list(overrides))["audit"]
    return {key: found[key] for key in POLICY}


def test_a_tracks_policy_fills_what_a_sweep_leaves_open() -> None:
    for name in ("quickstart", "nano"):
        assert audit(name)["references"] == "interleaved"
    assert audit("quickstart")["rounds"] == 16  # the sweep's own
    assert audit("quickstart", "audit.rounds=null")["rounds"] == 6
    assert audit("paper_main")["rounds"] == 10
    found = audit("nanogpt")
    assert (found["references"], found["rounds"], found["drift_rounds"]) == ("reused", 10, 3)
    assert all(int(str(found[key])) >= 1 for key in POLICY if key != "references")


def test_a_sweeps_own_values_win() -> None:
    found = audit("nanogpt", "audit.references=interleaved", "audit.noise_runs=0")
    assert (found["references"], found["noise_runs"]) == ("interleaved", 0)
    assert found["holdout_runs"] == audit("nanogpt")["holdout_runs"]


def test_the_plan_holds_plain_values_and_the_tracks_rules() -> None:
    made = plan.as_dict(sweep.load(ROOT / "config", "nanogpt", ["audit.noise_runs=4"]))
    read = schema.from_dict(trials.Plan, made)
    assert (read.audit.references, read.audit.noise_runs) == ("reused", 4)
    assert {"network", "compile_flags", "packages", "reads"} <= set(read.track.rules)
    assert not {"counting", "seed"} & set(read.track.rules)


@pytest.mark.parametrize("track", ["nano", "micro", "nanogpt"])
def test_every_rule_of_a_track_is_one(track: str) -> None:
    found = sweep.load(ROOT / "config", {"micro": "quickstart"}.get(track, track), [])
    assert set(found["track"]["rules"]) <= {*RULES, "reads"}
    assert {"network", "files", "timers", "evaluation"} <= set(found["track"]["rules"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("audit.noise_rns=1", "unknown key 'audit.noise_rns'; nearest is 'audit.noise_runs'"),
        ("audit.references=reuse", "unknown audit.references 'reuse' in the audit; nearest is"),
        ("audit.references=3", "unknown audit.references 3 in the audit"),
        ("audit.noise_runs=-1", "audit.noise_runs must be a whole number of at least 0, got -1"),
        ("audit.drift_rounds=x", "audit.drift_rounds must be a whole number"),
        ("audit.holdout_runs=1.5", "audit.holdout_runs must be a whole number"),
        ("audit.rounds=0", "audit.rounds must be a whole number of at least 1, got 0"),
        ("audit.reviewer=o3_min", "unknown model 'o3_min'; nearest is 'o3_mini'"),
        ("audit.reviewer=7", "unknown model '7'"),
        ("audit.reviewer=openai_compatible", "has no value for"),
        ("track.rules=[filse]", "unknown key 'filse' in track.rules; nearest is 'files'"),
        ("track.audit_policy.noise_runs=-2", "audit.noise_runs must be a whole number"),
        ("+track.audit_policy.lanes=2", "unknown key 'lanes' in track.audit_policy"),
    ],
)
def test_a_bad_value_is_one_line(override: str, message: str) -> None:
    with pytest.raises(SpeedrunError) as caught:
        sweep.load(ROOT / "config", "nano", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reviewer_is_planned_counted_and_missed_without_its_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    config = sweep.load(ROOT / "config", "quickstart", ["audit.reviewer=o3_mini"])
    assert config["review"]["reviewer"]["model"] == "o3-mini"
    variable = config["models"]["o3_mini"]["api_key_env"]
    monkeypatch.delenv(variable, raising=False)
    gaps = [gap.text for gap in missing.gaps(config, None, local=True)]
    assert any("o3_mini (the reviewer)" in gap and variable in gap for gap in gaps)
    spent = forecast.forecast(ROOT, config).models["reviewer: o3_mini"]
    assert spent.asked.calls == len(plan.trials(config))
    assert jobs.count(config)["review"] == len(plan.tasks(config))


def test_another_reviewer_touches_the_reviews_slice_alone() -> None:
    base = plan.as_dict(sweep.load(ROOT / "config", "quickstart", []))
    other = plan.as_dict(sweep.load(ROOT / "config", "quickstart", ["audit.reviewer=o3_mini"]))
    rounds = plan.as_dict(sweep.load(ROOT / "config", "quickstart", ["audit.rounds=3"]))
    task = base["tasks"][0]["task"]
    for stage in ("audit", "score", "similarity", "judge"):
        assert plan.task_slice(base, stage, task) == plan.task_slice(other, stage, task)
    sliced = plan.task_slice(base, "review", task)
    assert sliced != plan.task_slice(other, "review", task)
    assert sliced == plan.task_slice(rounds, "review", task)
