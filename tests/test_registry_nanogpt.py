"""The nanogpt track's registry: its facts agree with each other and with upstream's own table."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from datetime import date
from pathlib import Path

import pytest

from speedrun import registry

REPOSITORY = Path(__file__).resolve().parents[1]
REAL = registry.load(REPOSITORY / "tracks/nanogpt/registry.yaml")
ALL_WORLD_SIZES = [1, 2, 4, 8]
LINKED_LOG_FLAGS = {flag for flag in registry.FLAGS if flag.startswith("linked_log_")}


def test_the_real_registry_has_the_known_counts() -> None:
    numbers = [record.number for record in REAL.records]
    assert len(numbers) == 91
    assert sorted(set(numbers)) == list(range(1, 90)) and numbers == sorted(numbers)
    assert [len(REAL.transitions), len(REAL.tasks)] == [88, 85]
    assert sum(task.strict for task in REAL.tasks) == 82
    assert set(REAL.excluded) == {"r06-r07", "r24-r25", "r65-r66"}


def test_times_fall_along_the_transitions_and_dates_do_not() -> None:
    assert all(pair.gain_percent > 0 for pair in REAL.transitions)
    dates = [date.fromisoformat(record.date) for record in REAL.records]
    assert dates == sorted(dates)
    assert dates[-1] <= date.fromisoformat(REAL.upstream.date)


def test_the_task_after_the_re_timings_starts_at_the_last_of_them() -> None:
    after = next(pair for pair in REAL.transitions if pair.target.id == "r22")
    assert (after.task, after.start.time_minutes) == ("r21c-r22", 3.014)
    before = next(pair for pair in REAL.transitions if pair.start.id == "r20")
    assert (before.task, before.target.time_minutes) == ("r20-r21", 2.933)


def test_titles_are_ours_short_and_one_of_a_kind() -> None:
    titles = [record.title for record in REAL.records]
    assert len(set(titles)) == len(titles)
    assert all(title == title.strip() and 10 < len(title) < 130 for title in titles)


def test_every_record_says_where_it_is_the_same_experiment() -> None:
    for record in REAL.records:
        sizes = record.world_sizes
        assert 8 in sizes and sizes == sorted(set(sizes)), record.id
        assert bool(record.world_size_reason) == (sizes != ALL_WORLD_SIZES), record.id


def test_the_records_that_fewer_gpus_change_are_these() -> None:
    eight = {record.number for record in REAL.records if record.world_sizes == [8]}
    assert eight == {1, 2, 3, 15, 18, 19, *range(21, 27)}


def test_flags_needs_and_logs_agree_with_each_other() -> None:
    for record in REAL.records:
        flags = set(record.flags)
        assert len(flags) == len(record.flags) and len(set(record.needs)) == len(record.needs)
        assert record.needs[0] == "cuda", record.id
        assert bool(record.log) != ("no_log" in flags), record.id
        assert record.log.startswith(record.log_folder)
        assert not ("no_log" in flags and flags & LINKED_LOG_FLAGS), record.id
        assert not {"fa3_source", "kernel_hub"} & set(record.needs) or "hopper" in record.needs
        assert bool(record.variant) == ("retiming_row" in flags)


def test_only_the_early_scripts_take_arguments() -> None:
    assert {record.id for record in REAL.records if record.arguments} == {"r01", "r02", "r03"}
    for name in ("r01", "r02", "r03"):
        record = REAL.record(name)
        given_steps = record.arguments[record.arguments.index("--num_iterations") + 1]
        assert int(given_steps) == record.steps
        assert "data/fineweb10B/fineweb_train_*.bin" in record.arguments


def test_steps_and_tokens_fit_the_batches_upstream_ever_used() -> None:
    for record in REAL.records:
        assert record.steps is not None and record.train_tokens is not None
        assert 128 * 2**10 <= record.train_tokens / record.steps <= 512 * 2**10, record.id


def test_credits_and_citations_are_clean() -> None:
    for record in REAL.records:
        assert not any(name.startswith("@") or not name for name in record.contributors)
        assert all(cite.title for cite in record.cites)
        assert all(cite.url.startswith("https://") for cite in record.cites if cite.url)
    credited = {record.number for record in REAL.records if record.ai_system}
    assert credited == {32, 60, 69, 72, 87}


def test_the_upstream_pin_and_its_licence_are_named() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", REAL.upstream.commit)
    assert REAL.upstream.licence == "MIT" and REAL.upstream.attribution


def test_one_source_serves_two_records_only_where_the_task_is_excluded() -> None:
    same = [pair.task for pair in REAL.transitions if pair.start.source == pair.target.source]
    assert same == ["r65-r66"]
    assert all(task in REAL.excluded for task in same)


def test_an_era_is_a_run_of_consecutive_records() -> None:
    runs = [era for era, _ in itertools.groupby(record.era for record in REAL.records)]
    assert runs == [era.id for era in REAL.eras]


# ---- against upstream itself

network = pytest.mark.network
needs_clone = pytest.mark.skipif(
    "SPEEDRUN_UPSTREAM" not in os.environ, reason="SPEEDRUN_UPSTREAM names no clone of upstream"
)


def _git(*arguments: str) -> str:
    command = ["git", "-C", os.environ["SPEEDRUN_UPSTREAM"], *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


@pytest.fixture(scope="module")
def table() -> dict[str, list[str]]:
    """Upstream's table, read without the project's own parser: record id to its six cells."""
    text = _git("show", f"{REAL.upstream.commit}:{REAL.upstream.readme}")
    section = text.partition(f"## {REAL.upstream.table}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if re.match(r"\d+ *\|", line)]
    rows, seen = {}, dict.fromkeys(range(100), 0)
    for cells in ([cell.strip() for cell in line.split("|")] for line in lines):
        number = int(cells[0])
        rows[f"r{number:02}{['', 'b', 'c'][seen[number]]}"] = cells
        seen[number] += 1
    return rows


@network
@needs_clone
def test_every_row_of_upstreams_table_is_the_registrys(table: dict[str, list[str]]) -> None:
    assert list(table) == [record.id for record in REAL.records]
    for record, (_, time, description, day, log, credit) in zip(
        REAL.records, table.values(), strict=True
    ):
        month, dom, year = day.split("/")
        assert record.date == f"20{year}-{month}-{dom}"
        assert record.time_minutes == float(time.removesuffix("minutes"))
        found = re.search(r"/pull/(\d+)\)", log)
        assert record.pull_request == (int(found[1]) if found else None), record.id
        linked = re.search(r"\[log\]\(([^)]+)\)", log)
        assert record.log == (linked[1] if linked else ""), record.id
        groups = [name for name in record.contributors if " " in name]
        handles = [name for name in record.contributors if " " not in name]
        assert handles == re.findall(r"@([\w.-]*\w)", credit) and all(g in credit for g in groups)
        system = re.search(r"AI [Ss]ystem \[([^\]]+)\]", credit)
        assert record.ai_system == (system[1] if system else ""), record.id
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", description).strip().lower()
        assert record.title.lower() != plain, record.id


@network
@needs_clone
def test_every_path_exists_at_its_commit() -> None:
    pinned = set(_git("ls-tree", "-r", "-t", "--name-only", REAL.upstream.commit).splitlines())
    for record in REAL.records:
        paths = {record.log, record.log_folder, record.source.log} - {""}
        assert paths <= pinned, record.id
        if record.source.kind in registry.GIT_SOURCES:
            tree = _git("ls-tree", "-r", "--name-only", record.source.commit).splitlines()
            assert set(record.source.paths) <= set(tree), record.id


CODE_SIGNS = {  # need -> what the code of a record with it holds, and of one without does not
    "flex_attention": r"\bflex_attention\(",
    "fp8": r"\btorch\._scaled_mm\(",
    "triton": r"^@triton\.jit",
    "tma": r"\bTensorDescriptor\b",
    "fa3_source": r"^from flash_attn_interface import",
    "kernel_hub": r"\bget_kernel\(",
    "tiktoken_download": r"\btiktoken\.get_encoding\(",
}


def _code(record: registry.Record) -> str:
    source = record.source
    if source.kind != registry.LOG_SOURCE:
        return "\n".join(_git("show", f"{source.commit}:{path}") for path in source.paths)
    parts = re.split(
        r"^={100}\s*$", _git("show", f"{REAL.upstream.commit}:{source.log}"), flags=re.M
    )
    return parts[0] if parts[0].strip() else parts[1]


@network
@needs_clone
def test_needs_and_world_sizes_are_what_the_code_shows() -> None:
    for record in REAL.records:
        code = _code(record)
        for need, sign in CODE_SIGNS.items():
            assert bool(re.search(sign, code, re.M)) == (need in record.needs), (record.id, need)
        if re.search(r"^assert world_size == 8", code, re.M):
            assert record.world_sizes == [8], record.id
        if re.search(r"^assert 8 % world_size == 0", code, re.M):
            assert record.world_sizes == ALL_WORLD_SIZES, record.id


@network
@needs_clone
def test_steps_are_the_linked_logs_unless_flagged() -> None:
    for record in REAL.records:
        if record.number < 3 or not record.log or "log_is_directory" in record.flags:
            continue
        log = _git("show", f"{REAL.upstream.commit}:{record.log}")
        totals = re.findall(r"^step:\d+/(\d+) val_loss:", log, re.M)
        assert (int(totals[-1]) != record.steps) == ("linked_log_other_steps" in record.flags)
