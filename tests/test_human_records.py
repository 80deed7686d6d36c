"""Statistics of the human records, on the generated repository; figure and page."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions

from speedrun import registry
from speedrun.adapters import upstream_git
from speedrun.files import SpeedrunError
from speedrun.stages.records import statistics as stage
from speedrun.stages.records.statistics import choice, figure, rows, runs, tables
from speedrun.stages.records.statistics.rows import Row
from upstream_repo import Built

H100 = "8x NVIDIA H100 80GB HBM3"


def repository_of(built: Built) -> upstream_git.GitRepository:
    return upstream_git.open_repository(str(built.repository), Path("unused"), [built.commit])


@pytest.fixture(scope="module")
def corpus(built: Built) -> runs.Corpus:
    return stage.read(repository_of(built), registry.load(built.registry))


@pytest.fixture(scope="module")
def found(built: Built, corpus: runs.Corpus) -> dict[str, Row]:
    return {row.record: row for row in stage.rows_of(registry.load(built.registry), corpus)}


def test_every_log_of_the_linked_folders_is_read(built: Built, corpus: runs.Corpus) -> None:
    assert (corpus.count, corpus.failures) == (len(built.logs), {})


def test_every_row_counts_each_log_of_its_folder_once(found: dict[str, Row]) -> None:
    assert len(found) == 15
    for row in found.values():
        assert row.logs == row.n + row.other_code + row.other_gpus + row.incomplete


def test_baseline_that_is_linked_is_not_the_record(found: dict[str, Row]) -> None:
    """r09's linked log has the code of r08c."""
    row = found["r09"]
    assert (row.n, row.other_code, row.time_mean_s) == (3, 1, 14.0)
    assert row.loss_mean == pytest.approx(fmean([3.2779, 3.2790, 3.2771]))
    expected = distributions.ttest_1samp([3.2779, 3.2790, 3.2771], 3.28, alternative="less")
    assert row.p_loss == pytest.approx(expected.pvalue)
    assert "the linked log is none of these runs" in row.notes


def test_run_on_one_gpu_that_is_linked_is_counted_apart(found: dict[str, Row]) -> None:
    row = found["r10"]
    assert (row.gpus, row.n, row.other_gpus, row.other_code) == (H100, 2, 1, 0)
    assert row.time_mean_s == pytest.approx(12.1)
    assert row.time_sd_s == pytest.approx(0.1414, abs=1e-4)
    assert row.difference_percent == pytest.approx(100 * (12.1 / 363 - 1))


def test_record_of_a_linked_folder_is_its_own_code(found: dict[str, Row]) -> None:
    row = found["r12"]
    assert (row.n, row.other_code, row.time_mean_s) == (2, 1, pytest.approx(10.1))


def test_torch_upgrade_of_equal_code_has_its_own_run(found: dict[str, Row]) -> None:
    assert [(found[name].n, found[name].logs) for name in ("r04", "r05")] == [(1, 1), (1, 1)]


def test_incomplete_run_is_counted_apart(found: dict[str, Row]) -> None:
    assert (found["r06"].n, found["r06"].incomplete) == (1, 1)


def test_logs_that_say_little_leave_cells_empty(found: dict[str, Row]) -> None:
    row = found["r01"]
    assert (row.n, row.loss_mean, row.gpus, row.time_mean_s) == (1, 3.2722, "", None)
    assert (row.p_loss, row.difference_percent) == (None, None)
    for name in ("r03", "r11", "r13"):
        assert (found[name].n, found[name].notes) == (0, "upstream links no log")


def test_runs_of_a_records_source_are_found_in_every_folder(
    built: Built, corpus: runs.Corpus, found: dict[str, Row]
) -> None:
    """r11 has no log, but is the code of r10, which was also the baseline of r12."""
    assert (found["r11"].source_n, found["r10"].source_n) == (3, 3)
    assert found["r11"].source_time_mean_s == pytest.approx((12 + 12.2 + 12) / 3)
    assert found["r10"].chosen_by == "source"


def test_text_that_is_no_log_is_counted_as_a_failure(built: Built) -> None:
    known = registry.load(built.registry)
    record = known.record("r04")

    class Damaged(upstream_git.GitRepository):
        def read_many(self, commit: str, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
            for path, content in super().read_many(commit, paths):
                yield path, b"\xff no log" if path.startswith(record.log_folder) else content

    whole = repository_of(built)
    corpus = stage.read(Damaged(whole.objects, whole.where), known)
    assert (corpus.count, list(corpus.failures)) == (len(built.logs) - 1, [record.log])
    row = next(row for row in stage.rows_of(known, corpus) if row.record == "r04")
    assert (row.n, row.notes) == (0, "no log of its folder could be read")


# --- which group ---


def run(
    code: str, path: str = "f/x.txt", *, time_s: float = 90.0, loss: float = 3.279,
    gpus: str = H100, complete: bool = True,
) -> runs.Run:  # fmt: skip
    return runs.Run(path, code, {"train_gpt.py": code}, gpus, complete, loss, time_s)


def record(log: str = "f/x.txt", source: str = "none") -> registry.Record:
    where = registry.Source("log", log=log)
    return registry.Record(
        "r02", 2, 1.5, "2026-01-01", "t", "e", where, {"train_gpt.py": source},
        log=log, log_folder="f",
    )  # fmt: skip


LINKED, OTHER = run("a"), run("b", "f/y.txt", time_s=80.0)
CHOICES = [
    ([LINKED, OTHER], record(), set(), ("a", "linked")),
    ([LINKED, OTHER], record(source="b"), set(), ("b", "source")),
    ([LINKED, OTHER], record(), {"a"}, ("b", "fastest")),
    ([LINKED], record(), {"a"}, ("a", "linked")),  # a new version of torch, the same code
    ([run("a", gpus="8x NVIDIA H200"), OTHER], record(), {"b"}, ("b", "fastest")),
    ([run("a", gpus="8x NVIDIA H200")], record(), set(), ("a", "linked")),
    ([run("a", complete=False), run("a", "f/z.txt")], record(), set(), ("a", "linked")),
    ([LINKED, run("b", "f/y.txt", time_s=80.0, loss=3.281)], record("f"), set(), ("a", "fastest")),
    ([LINKED, OTHER], record("f"), set(), ("b", "fastest")),
    ([LINKED, run("b", "f/pr/y.txt", time_s=99.0)], record("f/pr"), set(), ("b", "linked")),
]


@pytest.mark.parametrize(("given_runs", "wanted", "earlier", "expected"), CHOICES)
def test_choice_of_the_records_group(
    given_runs: list[runs.Run],
    wanted: registry.Record,
    earlier: set[str],
    expected: tuple[str, str],
) -> None:
    group, how = choice.choose(runs.groups(given_runs), wanted, earlier)
    assert (group.code, how) == expected


@given(st.lists(st.builds(
    run, st.sampled_from("abc"), st.sampled_from(["f/x.txt", "f/y.txt"]),
    gpus=st.sampled_from([H100, "1x X"]), complete=st.booleans(),
), min_size=1))  # fmt: skip
def test_groups_hold_every_run_once_and_a_record_has_one(members: list[runs.Run]) -> None:
    groups = runs.groups(members)
    assert sum(len(group.runs) for group in groups) == len(members)
    kinds = {(one.code, one.gpus, one.complete) for one in members}
    assert len(groups) == len(kinds)
    group, _ = choice.choose(groups, record(), set())
    assert group in groups
    assert group.complete == any(one.complete for one in members)


def test_runs_on_other_gpus_are_not_compared_with_the_readme() -> None:
    known = registry.Registry(
        "t",
        "train_gpt.py",
        registry.Upstream("u", "c", "d", "l", "a", "r", "t"),
        [],
        {},
        [record()],
    )
    corpus = runs.Corpus({"r02": [run("a", gpus="8x NVIDIA H200", loss=3.281)] * 2}, {})
    (row,) = rows.rows_of(known, corpus)
    assert (row.n, row.difference_percent, row.p_loss) == (2, None, None)
    assert "the time cannot be compared" in row.notes
    assert "mean loss above the target" in row.notes


# --- tables ---


def test_csv_has_a_column_a_field_and_sensible_digits(found: dict[str, Row]) -> None:
    text = tables.as_csv(list(found.values()))
    lines = {line["record"]: line for line in csv.DictReader(io.StringIO(text))}
    assert list(lines) == list(found)
    assert lines["r10"]["time_mean_s"] == "12.10"
    assert lines["r10"]["loss_mean"] == "3.2790"
    assert lines["r01"]["time_mean_s"] == lines["r01"]["p_loss"] == ""
    assert lines["r09"]["p_loss"] == f"{found['r09'].p_loss:.3g}"


def test_every_column_is_explained(repository: Path) -> None:
    page = (repository / "docs/human-records.md").read_text().partition("## Columns of the CSV")[2]
    names = [name for line in page.splitlines() for name in line.split("|")[1:2]]
    explained = ", ".join(names).replace(" ", "").split(",")
    assert [field.name for field in dataclasses.fields(Row)] == explained[2:]


def test_page_keeps_what_people_wrote(found: dict[str, Row], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Mine\n{tables.BEGIN}\nold\n{tables.END}\nmine too\n")
    stage.write(list(found.values()), page)
    once = page.read_text()
    assert once.startswith("# Mine\n") and once.endswith("mine too\n") and "\nold\n" not in once
    assert "| r10 | 363.00 | 12.10 ± 0.14 | -96.67 | 2 | 3.2790 ± 0.0006 |" in once
    stage.write(list(found.values()), page)
    assert page.read_text() == once


def test_page_without_a_place_for_the_table(found: dict[str, Row], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    with pytest.raises(SpeedrunError, match="a page must be there"):
        stage.write(list(found.values()), page)
    page.write_text("# Mine\n")
    with pytest.raises(SpeedrunError, match="has no lines"):
        stage.write(list(found.values()), page)
    assert page.read_text() == "# Mine\n"


# --- the paper's times ---


def test_papers_figure_is_drawn_the_same_each_time(repository: Path, tmp_path: Path) -> None:
    times = repository / "tracks/nanogpt/paper_times.csv"
    for name in ("a.svg", "b.svg", "a.png", "a.pdf"):
        stage.draw_paper_times(times, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    with pytest.raises(SpeedrunError, match="a figure is one of"):
        stage.draw_paper_times(times, tmp_path / "a.txt")


def test_papers_times_are_those_of_its_table(repository: Path) -> None:
    times = {
        one.record: one for one in figure.read_times(repository / "tracks/nanogpt/paper_times.csv")
    }
    assert list(times) == [f"r{number:02d}" for number in range(1, 22)]
    assert times["r07"].difference_percent == pytest.approx(7.37, abs=0.01)
    known = registry.load(repository / "tracks/nanogpt/registry.yaml")
    published = {name: one.published_ms for name, one in times.items()}
    assert published == {name: round(60_000 * known.record(name).time_minutes) for name in times}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "record\nr01\n",
        "# only\n",
        "record,published_ms\nr01,x\n",
        "record,published_ms,retimed_mean_ms,retimed_sd_ms\nr01,1,x,2\n",
    ],
)
def test_broken_times_name_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "times.csv"
    path.write_text(text)
    with pytest.raises(SpeedrunError, match=r"times\.csv needs the columns"):
        figure.draw(figure.read_times(path), tmp_path / "x.svg")
    with pytest.raises(SpeedrunError, match="is missing"):
        figure.read_times(tmp_path / "gone.csv")
