"""report: CSVs with equal bytes and one self-contained page, over a whole scored sweep."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from report_runs import PNG, rows, scored
from speedrun import text_files, trials
from speedrun.stages import report
from speedrun.stages.report import tables, text


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[trials.Plan, Path]:
    root = tmp_path_factory.mktemp("report")
    plan = scored(root)
    report.build(plan, root / "sweep", root / "sweep" / "report")
    return plan, root / "sweep" / "report"


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


def test_a_sweep_without_chains_shows_no_empty_columns(built: tuple[trials.Plan, Path]) -> None:
    page = (built[1] / "index.html").read_text()
    assert "own start" not in page and "<th>mode</th>" not in page and "optimize" not in page
    assert "own start" not in report.text_table(built[0], built[1].parent)
    assert {row["fsr_own_start"] for row in rows(built[1] / "scores.csv")} == {""}


def test_numbers_are_short_and_never_minus_zero() -> None:
    shown = [text.short(value) for value in (None, 0.0, -0.001, 0.456, -1.2)]
    assert shown == ["-", "0.00", "0.00", "0.46", "-1.20"]
    row = {"a": None, "b": True, "c": 1 / 3, "d": 7, "e": 'x,"y'}
    assert text_files.to_csv([row], "abcde") == 'a,b,c,d,e\n,true,0.333333,7,"x,""y"\n'
