"""report and score: what of a number is not to be trusted yet, and why, is on the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import sweep_files
from report_runs import rows as csv_rows
from report_runs import score_all
from score_inputs import CONFIRMED, rows
from speedrun import files, schema, trials
from speedrun.rules import RULES
from speedrun.schema import Outcome
from speedrun.stages import report
from speedrun.stages.report import tables, text

FORKS = "import os\n\nif os.fork():\n    os._exit(0)\n"


def flagged(root: Path, **hardware: str) -> trials.Plan:
    """Score a sweep whose agent's winner forks, and one of whose nodes broke rules."""
    plan = sweep_files.sweep(root, rounds=6)
    agent, failed = Path(plan.trials[2].folder), Path(plan.trials[3].folder)
    files.write_tree(agent / "node_2" / "solution", {"train.py": sweep_files.AGENT + FORKS})
    reason = "rule paths: reads <b>/etc</b> (train.py:3); rule network: socket (train.py:1)"
    broken = sweep_files.analysis(Outcome.RULE_VIOLATION, None, reason=reason)
    schema.save(failed / "node_1" / "analysis.json", broken)
    late = sweep_files.analysis(Outcome.RULE_VIOLATION, None, reason="5 s after the last line")
    schema.save(failed / "node_2" / "analysis.json", late)
    track = dataclasses.replace(plan.track, rules=list(RULES))
    plan = dataclasses.replace(plan, track=track, config={"hardware": hardware})
    score_all(plan, root)
    return plan


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[trials.Plan, Path]:
    root = tmp_path_factory.mktemp("trust")
    plan = flagged(root)
    report.build(plan, root / "sweep", root / "out")
    return plan, root


def test_an_open_flag_is_on_the_page_with_file_and_line(built: tuple[trials.Plan, Path]) -> None:
    page = (built[1] / "out" / "index.html").read_text()
    assert '<td class="review">open</td>' in page
    assert "<td>train.py:11</td>" in page
    assert "<td>process:os.fork</td>" in page
    assert '<td class="review">review</td>' in page
    row = {row["arm"]: row for row in csv_rows(built[1] / "out" / "scores.csv")}["replay"]
    assert (row["verdict"], int(row["n_flags"]) > 0) == ("review", True)
    assert "rule process: " in row["flags"] and "(train.py:11)" in row["flags"]
    assert float(row["fsr_audited"]) == pytest.approx(0.6, abs=0.02)


def test_the_table_names_what_waits_and_what_to_do(built: tuple[trials.Plan, Path]) -> None:
    lines = report.text_table(built[0], built[1] / "sweep").splitlines()
    assert (
        lines[0].split()[7:11] == ["interval", "curse", "verdict", "flags"] or "flags" in lines[0]
    )
    (waiting,) = [line for line in lines if line.startswith("open: r01-r02 replay-cc/s0: ")]
    assert "rule process: " in waiting
    (how,) = [line for line in lines if line.startswith("decide (docs/report.md), e.g. ")]
    assert how.endswith("replay-cc/s0/node_2/solution")
    assert " speedrun review --track nano --task r01-r02 --solution " in how
    assert not any("Untrusted" in line for line in lines)


def test_rules_that_nodes_broke_are_counted_by_rule(built: tuple[trials.Plan, Path]) -> None:
    results = tables.read(built[0], built[1] / "sweep")
    kinds, counted = tables.violations(tables.node_rows(results))
    assert kinds == ["clock or probes", "network", "paths"]
    assert counted == [{"arm": "tuner", "clock or probes": 1, "network": 1, "paths": 1}]
    assert tables.violations([]) == ([], [])
    assert "<b>/etc</b>" not in (built[1] / "out" / "index.html").read_text()


def test_the_winners_curse_is_in_rows_and_means(built: tuple[trials.Plan, Path]) -> None:
    scores = {row["arm"]: row for row in csv_rows(built[1] / "out" / "scores.csv")}
    replay = scores["replay"]
    difference = float(replay["fsr"]) - float(replay["fsr_audited"])
    assert float(replay["winners_curse"]) == pytest.approx(difference, abs=1e-5)
    assert scores["tuner"]["winners_curse"] == ""
    means = {(row["arm"], row["task"]): row for row in csv_rows(built[1] / "out" / "arms.csv")}
    for scope in ("all", "r01-r02"):
        assert means["replay", scope]["winners_curse"] == replay["winners_curse"]
        assert (means["replay", scope]["n_review"], means["replay", scope]["n_confirmed"]) == (
            "1",
            "0",
        )


def test_a_sweep_without_a_sandbox_is_called_untrusted(tmp_path: Path) -> None:
    plan = flagged(tmp_path, sandbox="none")
    assert report.UNTRUSTED in report.text_table(plan, tmp_path / "sweep").splitlines()
    run = schema.RunExit(ran=True, reason="exited", sandbox="none")
    schema.save(Path(plan.trials[2].folder) / "node_2" / "run" / "exit.json", run)
    report.build(plan, tmp_path / "sweep", tmp_path / "out")
    assert report.UNTRUSTED in (tmp_path / "out" / "index.html").read_text()


def test_an_opinion_and_an_audits_flag_are_shown_as_such(tmp_path: Path) -> None:
    plan = flagged(tmp_path)
    path = tmp_path / "sweep" / "review" / "nano" / "r01-r02.json"
    product = files.read_json(path)
    reasons = [{"file": "train.py", "line": 13, "why": "<script>forks</script>"}]
    said = {"model": "m", "cheating": "yes", "confidence": 0.8, "reasons": reasons, "failure": ""}
    product["trials"][2]["opinion"] = said
    audit = tmp_path / "sweep" / "audit" / "nano" / "r01-r02.json"
    held = {"flags": ["very_fast"], "held": ["takes 0.1"], "failures": [], "evidence": []}
    audited = files.read_json(audit)
    audited["trials"][1]["pace"] = held
    files.write_json(audit, audited)
    product["trials"][0]["opinion"] = {**said, "failure": "the model declined", "reasons": []}
    files.write_json(path, product)
    report.build(plan, tmp_path / "sweep", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "said yes\n(confidence 0.80). Opinions decide nothing." in page
    assert "gave no opinion (the model declined)" in page
    assert "train.py:13: &lt;script&gt;forks" in page
    assert "<td>audit:very_fast</td><td>its runs</td><td>takes 0.1</td>" in page


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (0.044, "+0.04"), (-0.001, "+0.00")])
def test_a_difference_has_a_sign(value: float | None, shown: str) -> None:
    assert text.signed(value) == shown


def test_the_winners_curse_is_what_the_search_had_above_the_audit(tmp_path: Path) -> None:
    failed = {**CONFIRMED, "verdict": "failed", "evidence": ["round 1: oom"]}
    found = rows(tmp_path, null=failed, oracle={**CONFIRMED, "fsr": None})
    assert found["replay"]["winners_curse"] == pytest.approx(found["replay"]["fsr"] - 0.5)
    for arm in ("null", "oracle", "tuner"):  # failed, without an interval, without a winner
        assert found[arm]["winners_curse"] is None


def test_a_winner_in_review_keeps_its_value_and_shows_its_flags(tmp_path: Path) -> None:
    waiting = {**CONFIRMED, "verdict": "review", "evidence": ["a flag is open"]}
    row = rows(tmp_path, replay=waiting)["replay"]
    assert (row["verdict"], row["fsr_audited"], row["equivalent_to_1"]) == ("review", 0.5, False)
    assert row["n_flags"] == 7
    assert row["flags"].startswith("rule output: a line is changed (train.py:1); ")
    assert row["flags"].endswith("(train.py:5); and 2 more")
    assert row["reason"] == "a flag is open"
    assert (rows(tmp_path)["null"]["n_flags"], rows(tmp_path)["null"]["flags"]) == (0, "")
    own = {"noise": {"failures": [], "flags": ["noise_rise"], "held": ["rises by 1"]}}
    row = rows(tmp_path, null=waiting | own)["null"]
    assert (row["n_flags"], row["flags"]) == (1, "audit:noise_rise: rises by 1")
