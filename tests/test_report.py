"""report: CSVs with equal bytes, figures, one self-contained page, over a whole scored sweep."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import audit_runs
import sweep_files
from speedrun import files, schema, text_files, trials
from speedrun.adapters import embedders
from speedrun.schema import Outcome
from speedrun.stages import audit, judge, report, review, score, similarity
from speedrun.stages.report import figures, tables, text

PNG = b"\x89PNG\r\n\x1a\n"


def scored(root: Path, arms: str = "") -> trials.Plan:
    """Run every scoring stage over the sample sweep; times are drawn, the rest is real."""
    plan = sweep_files.sweep(root, rounds=6)
    score_all(plan, root)
    return plan


def clocks(code: str, seed: int) -> float:
    """Return the times of the sample sweep's programs; any other takes as long as the agent's."""
    known = (sweep_files.START, sweep_files.TARGET)
    return audit_runs.drifting(code if code in known else sweep_files.AGENT, seed)


def score_all(plan: trials.Plan, root: Path) -> None:
    sweep, task = root / "sweep", "r01-r02"
    paths = [
        sweep / stage / "nano" / f"{task}.json"
        for stage in ("audit", "similarity", "judge", "review", "score")
    ]
    run = audit_runs.timed_run([], clocks)
    review.review_task(plan, task, root / "reviews", None, paths[3])
    audit.audit_task(plan, task, run, root / "store", paths[0], "spec", review=paths[3])
    similarity.measure_task(plan, task, embedders.make(plan.embedder, root), 12, paths[1])
    judge.judge_task(plan, task, judge.recorded_judge(Path("absent/replies")), paths[2])
    score.score_task(plan, task, *paths)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[trials.Plan, Path]:
    root = tmp_path_factory.mktemp("report")
    plan = scored(root)
    report.build(plan, root / "sweep", root / "sweep" / "report")
    return plan, root / "sweep" / "report"


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_scores_has_the_columns_in_order(built: tuple[trials.Plan, Path]) -> None:
    header = (built[1] / "scores.csv").read_text().splitlines()[0]
    assert header.startswith(
        "task,arm,coder,model,scaffold,hints,seed,nodes,outcome,fsr,fsr_audited,fsr_low,fsr_high,"
        "similarity,judge,tokens,cost_usd,device_seconds"
    )
    found = {row["arm"]: row for row in rows(built[1] / "scores.csv")}
    assert list(found) == ["oracle", "null", "replay", "tuner"]
    assert found["oracle"]["equivalent_to_1"] == "true"
    assert found["null"]["equivalent_to_0"] == "true"
    assert float(found["replay"]["fsr_audited"]) == pytest.approx(0.6, abs=0.02)
    assert (found["replay"]["judge"], found["replay"]["cost_usd"]) == ("", "")
    assert (found["tuner"]["fsr_audited"], found["tuner"]["verdict"]) == ("0", "")


def test_arms_state_where_their_interval_comes_from(built: tuple[trials.Plan, Path]) -> None:
    found = {(row["arm"], row["task"]): row for row in rows(built[1] / "arms.csv")}
    assert set(found) == {(a, t) for a in ("oracle", "null", "replay", "tuner")
                          for t in ("all", "r01-r02")}  # fmt: skip
    replay = found["replay", "r01-r02"]
    assert replay["interval"] == "fieller"
    assert float(replay["fsr_low"]) < float(replay["fsr_audited"]) < float(replay["fsr_high"])
    assert found["tuner", "all"]["interval"] == "none"
    assert found["tuner", "all"]["fsr_low"] == ""


def test_curves_and_nodes_are_complete(built: tuple[trials.Plan, Path]) -> None:
    curves = rows(built[1] / "curves.csv")
    assert sum(row["kind"] == "reference" for row in curves) == 4 * 2
    # two points of every node that trained to the end: 1 + 1 + 2 + 1
    assert sum(row["kind"] == "trial" for row in curves) == 5 * 2
    nodes = rows(built[1] / "nodes.csv")
    assert [(row["arm"], row["node"]) for row in nodes if row["winner"] == "true"] == [
        ("oracle", "1"), ("null", "1"), ("replay", "2"),
    ]  # fmt: skip
    assert [row["outcome"] for row in nodes if row["arm"] == "tuner"] == [
        "candidate_error", "missed_target", "refused",
    ]  # fmt: skip


def test_equal_inputs_give_equal_bytes_and_no_machine_paths(
    built: tuple[trials.Plan, Path], tmp_path: Path
) -> None:
    report.build(built[0], built[1].parent, tmp_path / "again")
    first = {p.relative_to(built[1]): p.read_bytes() for p in built[1].rglob("*") if p.is_file()}
    again = {
        p.relative_to(tmp_path / "again"): p.read_bytes()
        for p in (tmp_path / "again").rglob("*")
        if p.is_file()
    }
    assert first == again
    texts = [content.decode() for path, content in first.items() if path.suffix != ".png"]
    assert not any(str(built[1].parent.parent) in text for text in texts)


class Links(HTMLParser):
    """Collects what a page would load or link to, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_self_contained_and_whole(built: tuple[trials.Plan, Path]) -> None:
    page = (built[1] / "index.html").read_text()
    links = Links()
    links.feed(page)
    assert links.open == []
    assert len(links.links) == 1 + 1 + 4  # FSR, one task's curves, four search trees
    for link in links.links:
        content = base64.b64decode(link.removeprefix("data:image/png;base64,"))
        assert content.startswith(PNG)
    assert "@import" not in page and "<script" not in page
    text = re.sub(r"<[^>]*>", " ", page)
    for part in ("Sandbox of the candidates: bubblewrap", "missed target", "no recorded reply",
                 "mean loss", "code equal to the target", "Hardware cpu"):  # fmt: skip
        assert part in text


def test_what_a_candidate_wrote_cannot_enter_the_page_as_markup(tmp_path: Path) -> None:
    plan = scored(tmp_path)
    results = tables.read(plan, tmp_path / "sweep")
    results.rows[3]["reason"] = "<script>alert(1)</script>"
    drawn = report._draw(results, tables.arms(results), tables.node_rows(results), tmp_path / "f")
    page = report._page(results, tables.arms(results), tables.node_rows(results), drawn)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_run_without_sandbox_is_shown(tmp_path: Path) -> None:
    plan = scored(tmp_path)
    path = Path(plan.trials[0].folder) / "node_1" / "run" / "exit.json"
    path.write_text(path.read_text().replace('"bubblewrap"', '"none"'))
    report.build(plan, tmp_path / "sweep", tmp_path / "out")
    assert "ran without a sandbox" in (tmp_path / "out" / "index.html").read_text()


def test_a_simulated_sweep_says_so(tmp_path: Path) -> None:
    plan = scored(tmp_path)
    for trainer, said in (("real", False), ("simulated", True)):
        told = dataclasses.replace(plan, config={"hardware": {"trainer": trainer}})
        report.build(told, tmp_path / "sweep", tmp_path / "out")
        assert (report.SIMULATED in (tmp_path / "out" / "index.html").read_text()) is said
        assert (report.SIMULATED in report.text_table(told, tmp_path / "sweep")) is said


def test_the_page_tells_what_the_records_reached_in_the_block(tmp_path: Path) -> None:
    """Also where a record diverged each time; and what was equal code without a rubric."""
    plan = scored(tmp_path)
    results = tables.read(plan, tmp_path / "sweep")
    results.audit["r01-r02"]["records"]["target"] |= {"time_s": None, "val_loss": None}
    for one in results.judge["r01-r02"]["trials"]:
        one["changes"] = one["changes"] and []
    drawn = report._draw(results, tables.arms(results), tables.node_rows(results), tmp_path / "f")
    page = report._page(results, tables.arms(results), tables.node_rows(results), drawn)
    text = " ".join(page.split())
    assert re.search(r"start took \d+\.\d\d s to a loss of 3\.4\d{3} and target - s to -,", text)
    assert "code equal to the target" in page


def test_the_closing_table_is_aligned_and_whole(built: tuple[trials.Plan, Path]) -> None:
    lines = report.text_table(built[0], built[1].parent).splitlines()
    assert len(lines) == 2 + 4
    assert lines[0].split()[:4] == ["task", "arm", "hints", "seed"]
    column = lines[0].index("verdict")
    assert lines[2][column:].startswith("confirmed, = 1")
    assert lines[3][column:].startswith("confirmed, = 0")
    assert lines[5][column:].startswith("-")


def test_numbers_are_short_and_never_minus_zero() -> None:
    shown = [text.short(value) for value in (None, 0.0, -0.001, 0.456, -1.2)]
    assert shown == ["-", "0.00", "0.00", "0.46", "-1.20"]
    row = {"a": None, "b": True, "c": 1 / 3, "d": 7, "e": 'x,"y'}
    assert text_files.to_csv([row], "abcde") == 'a,b,c,d,e\n,true,0.333333,7,"x,""y"\n'


@given(st.lists(st.integers(0, 10), min_size=1, max_size=12))
def test_no_two_nodes_of_a_tree_overlap(choices: list[int]) -> None:
    nodes = [{"node": i, "parent": choice % i} for i, choice in enumerate(choices, start=1)]
    places = figures.layout(nodes)
    assert set(places) == set(range(len(nodes) + 1))
    for i, one in places.items():
        for j, other in places.items():
            assert i == j or one[1] != other[1] or abs(one[0] - other[0]) >= 0.999


def test_seeds_make_the_interval_one_over_trials(tmp_path: Path) -> None:
    plan = scored(tmp_path)
    results = tables.read(plan, tmp_path / "sweep")
    extra = [{**row, "seed": 1, "fsr_audited": (row["fsr_audited"] or 0) + 0.1}
             for row in results.rows]  # fmt: skip
    results.score["r01-r02"]["trials"].extend(extra)
    found = {(row["arm"], row["task"]): row for row in tables.arms(results)}
    assert found["replay", "all"]["interval"] == "trials"
    assert found["replay", "all"]["n_trials"] == 2
    assert found["replay", "all"]["fsr_low"] < found["replay", "all"]["fsr_high"]


def test_every_outcome_has_a_colour() -> None:
    assert set(figures.OUTCOME_COLOURS) == {"start", *map(str, Outcome)}


def two_tasks(root: Path, answer: bool | None) -> tables.Results:
    """The sample sweep's results, and a second task with ``answer`` to whether it counts."""
    plan = scored(root)
    results = tables.read(plan, root / "sweep")
    second = dataclasses.replace(plan.tasks[0], task="r02-r03")
    rows = [
        {**row, "task": "r02-r03", "fsr_audited": 9.0, "measurable": str(answer).lower()}
        for row in results.rows
    ]
    measured = {**results.score["r01-r02"]["measurable"], "measurable": answer}
    score = {"task": "r02-r03", "trials": rows, "measurable": measured}
    plan = dataclasses.replace(plan, tasks=[*plan.tasks, second])
    audits = {**results.audit, "r02-r03": results.audit["r01-r02"]}
    scores = {**results.score, "r02-r03": score}
    return dataclasses.replace(results, plan=plan, score=scores, audit=audits)


@pytest.mark.parametrize("answer", [False, None])
def test_means_leave_out_what_is_not_shown_to_be_measurable(
    tmp_path: Path, answer: bool | None
) -> None:
    results = two_tasks(tmp_path, answer)
    assert results.left_out == ["r02-r03"]
    found = {(row["arm"], row["task"]): row for row in tables.arms(results)}
    alone, whole = found["replay", "r01-r02"], found["replay", "all"]
    assert whole["fsr_audited"] == alone["fsr_audited"] != 9.0
    assert (whole["n_tasks"], whole["n_left_out"], whole["n_trials"]) == (1, 1, 1)
    assert found["replay", "r02-r03"]["fsr_audited"] == 9.0  # kept by task
    path = figures.draw_fsr(tables.arms(results), tmp_path / "fsr.png")
    assert path.read_bytes().startswith(PNG)
    both = {(row["arm"], row["task"]): row for row in tables.arms(two_tasks(tmp_path, True))}
    assert both["replay", "all"]["fsr_audited"] == (alone["fsr_audited"] + 9.0) / 2


def test_what_does_not_count_never_shrinks_the_picture() -> None:
    nothing = {"fsr": None, "fsr_audited": None, "fsr_low": None, "fsr_high": None}
    kept = {**nothing, "fsr_audited": 0.5, "fsr_high": 1.4, "measurable": "true"}
    noise = {**nothing, "fsr_audited": -80.0, "fsr": 300.0, "measurable": "false"}
    assert figures._fsr_range([kept, noise]) == pytest.approx((-0.07, 1.47))
    low, high = figures._fsr_range([{**nothing, "measurable": None}, noise])
    assert low < -80 and high > 300
    assert figures._fsr_range([{**kept, "fsr_low": -3.0}])[0] < -3


def test_a_sweep_without_any_measurable_task_has_no_mean(tmp_path: Path) -> None:
    plan = dataclasses.replace(scored(tmp_path), p_max=0.0)
    paths = [
        tmp_path / "sweep" / stage / "nano" / "r01-r02.json"
        for stage in ("audit", "similarity", "judge", "review", "score")
    ]
    score.score_task(plan, "r01-r02", *paths)
    reason = "r01 needs 8 GPUs <b>here</b>"
    plan = dataclasses.replace(plan, not_run=[trials.NotRun("r04-r05", reason)])
    report.build(plan, tmp_path / "sweep", tmp_path / "out")
    found = {(row["arm"], row["task"]): row for row in rows(tmp_path / "out" / "arms.csv")}
    whole = found["replay", "all"]
    assert (whole["fsr"], whole["fsr_audited"], whole["interval"]) == ("", "", "none")
    assert (whole["n_tasks"], whole["n_left_out"]) == ("0", "1")
    assert found["replay", "r01-r02"]["measurable"] == "false"
    page = (tmp_path / "out" / "index.html").read_text()
    assert "no significant gain: the target takes 0." in page
    assert "r04-r05: r01 needs 8 GPUs &lt;b&gt;here&lt;/b&gt;" in page
    lines = report.text_table(plan, tmp_path / "sweep").splitlines()
    assert lines[-2].startswith("left out of means: r01-r02: no significant gain: the target")
    assert lines[-1] == f"not run: r04-r05: {reason}"
    column = rows(tmp_path / "out" / "scores.csv")[0]
    assert (column["measurable"], column["measurable_reason"][:5]) == ("false", "no si")


def test_a_record_that_ran_in_two_settings_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = scored(tmp_path)
    other = tmp_path / "references/nano/cpu/r02/other/run_0"
    schema.save(other / "analysis.json", sweep_files.analysis(Outcome.OK, 77.0))
    both = {**plan.references, "r02": [*plan.references["r02"], str(other)]}
    results = tables.read(dataclasses.replace(plan, references=both), tmp_path / "sweep")
    rows_of = [row for row in tables.curves(results) if row["kind"] == "reference"]
    assert {row["name"] for row in rows_of} == {"r01", "r02/r02", "r02/other"}
    drawn: list[list[schema.CurvePoint]] = []
    monkeypatch.setattr(
        figures, "_draw_curve", lambda _axes, _results, curve, *_: drawn.append(curve)
    )
    figures.draw_curves(results, "r01-r02", tmp_path / "curves.png")
    ends = {curve[-1].cpu_s for curve in drawn if curve}
    assert {5.0, 5.2, 10.0, 10.4} <= ends and 77.0 not in ends


def test_curves_and_page_are_on_the_tracks_clock(tmp_path: Path) -> None:
    plan = scored(tmp_path)
    track = dataclasses.replace(plan.track, clock="train_time", probe_contexts=0)
    report.build(dataclasses.replace(plan, track=track), tmp_path / "sweep", tmp_path / "out")
    last = next(row for row in rows(tmp_path / "out" / "curves.csv") if row["step"] == "100")
    assert float(last["time_s"]) == pytest.approx(int(last["train_time_ms"]) / 1000)
    assert "scored on the train time." in (tmp_path / "out" / "index.html").read_text()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[trials.Plan, Path]:
    """The sample sweep in cumulative mode, whose last arm's chain had ended before."""
    root = tmp_path_factory.mktemp("ended")
    plan = sweep_files.sweep(root, rounds=6)
    modes = {trial.arm: "cumulative" for trial in plan.trials} | {"null": "optimize"}
    values = [dataclasses.replace(trial, mode=modes[trial.arm]) for trial in plan.trials]
    plan = dataclasses.replace(plan, trials=values)
    folder = Path(plan.trials[3].folder)
    link = trials.Link("x", None, True, "the chain ended at <r00-r01>")
    files.write_json(folder / "start/chain.json", link.to_json())
    skipped = sweep_files.analysis(
        Outcome.NOT_ATTEMPTED, None, device_seconds=0.0, reason=link.reason
    )
    for number in range(1, 4):
        schema.save(folder / f"node_{number}" / "analysis.json", skipped)
    score_all(plan, root)
    report.build(plan, root / "sweep", root / "sweep" / "report")
    return plan, root / "sweep" / "report"


def test_what_was_not_attempted_is_no_failure(ended: tuple[trials.Plan, Path]) -> None:
    nodes = [row for row in rows(ended[1] / "nodes.csv") if row["arm"] == "tuner"]
    assert {row["outcome"] for row in nodes} == {"not_attempted"}
    kinds, counts = tables.failures(nodes)
    assert kinds == [] and counts == [{"arm": "tuner", "not_attempted": 3}]
    arms = {row["arm"]: row for row in rows(ended[1] / "arms.csv") if row["task"] == "r01-r02"}
    assert [arms[name]["n_not_attempted"] for name in ("tuner", "null")] == ["1", "0"]
    page = (ended[1] / "index.html").read_text()
    assert "tuner: 3 nodes not attempted, because the chain had ended" in page
    how = page.split("<h2>How nodes ended</h2>")[1].split("</table>")[0]
    assert "not attempted" not in how


def test_a_cumulative_sweep_shows_both_scores(ended: tuple[trials.Plan, Path]) -> None:
    scores = {row["arm"]: row for row in rows(ended[1] / "scores.csv")}
    assert scores["oracle"]["fsr_own_start"] == scores["oracle"]["fsr"]
    assert scores["tuner"]["fsr_own_start"] == "0"
    assert scores["tuner"]["own_start_reason"] == "the chain ended at <r00-r01>"
    arms = {row["arm"]: row for row in rows(ended[1] / "arms.csv") if row["task"] == "r01-r02"}
    assert arms["replay"]["fsr_own_start"] == arms["replay"]["fsr"]
    page = (ended[1] / "index.html").read_text()
    assert page.count("<th>own start</th>") == 2
    assert page.count("<th>mode</th>") == 1 and page.count("<td>optimize</td>") == 1
    assert "In mode optimize a trial is to make the start as fast as it goes." in page
    assert "0.00 (the chain ended at &lt;r00-r01&gt;)" in page
    head, *_ = report.text_table(ended[0], ended[1].parent).splitlines()
    assert head.split()[-3:] == ["mode", "own", "start"]


def test_a_sweep_without_chains_shows_no_empty_columns(built: tuple[trials.Plan, Path]) -> None:
    page = (built[1] / "index.html").read_text()
    assert "own start" not in page and "<th>mode</th>" not in page and "optimize" not in page
    assert "own start" not in report.text_table(built[0], built[1].parent)
    assert {row["fsr_own_start"] for row in rows(built[1] / "scores.csv")} == {""}
