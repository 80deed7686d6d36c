"""The registry: the real one's facts, every refusal of the loader, upstream's own table."""

from __future__ import annotations

import copy
import itertools
import os
import re
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from speedrun import registry
from speedrun.files import SpeedrunError

REPOSITORY = Path(__file__).resolve().parents[1]
REAL = registry.load(REPOSITORY / "tracks/nanogpt/registry.yaml")
ALL_WORLD_SIZES = [1, 2, 4, 8]
LINKED_LOG_FLAGS = {flag for flag in registry.FLAGS if flag.startswith("linked_log_")}

Value = dict[str, Any]
SMALL: Value = {
    "track": "tiny",
    "entry": "train.py",
    "upstream": {
        "url": "https://example.org/tiny",
        "commit": "0" * 40,
        "date": "2025-01-01",
        "licence": "MIT",
        "attribution": "nobody",
        "readme": "README.md",
        "table": "Records",
    },
    "eras": [{"id": "old", "title": "the old days", "torch": "2.4", "requirements": "old.txt"}],
    "excluded": {},
    "records": [],
}


def _row(number: int, suffix: str = "", **more: Any) -> Value:
    source = {"kind": "git_final", "commit": "1" * 40, "paths": ["train.py"]}
    row = {"id": f"r{number:02}{suffix}", "number": number, "time_minutes": 100.0 - number}
    more = {"date": "2025-01-01", "title": f"change {number}{suffix}", "era": "old"} | more
    return {**row, "source": source, "sha256": {}, **more}


def _small() -> Value:
    data = copy.deepcopy(SMALL)
    data["records"] = [_row(1), _row(2), _row(2, "b"), _row(3)]
    return data


def _load(folder: Path, data: Any) -> registry.Registry:
    path = folder / "registry.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return registry.load(path)


# ---- the real registry


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


# ---- reading and refusing


def test_a_small_registry_loads_and_a_bare_date_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    text = yaml.safe_dump(_small(), sort_keys=False).replace("'2025-01-01'", "2025-01-01")
    path.write_text(text, encoding="utf-8")
    loaded = registry.load(path)
    assert "date: 2025-01-01\n" in text and loaded.records[0].date == "2025-01-01"
    assert [pair.task for pair in loaded.transitions] == ["r01-r02", "r02b-r03"]


def test_a_missing_file_says_that_the_track_needs_it(tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"registry\.yaml is missing: .* needs its registry"):
        registry.load(tmp_path / "registry.yaml")


@pytest.mark.parametrize("content", [b"records: [", b"a: 'x\n", b"\xff\xfe\x00"])
def test_what_is_no_yaml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(content)
    with pytest.raises(SpeedrunError, match=r"registry\.yaml is not valid YAML") as caught:
        registry.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [1], "text", 3])
def test_a_registry_is_keys_and_values(tmp_path: Path, data: Any) -> None:
    with pytest.raises(SpeedrunError, match="expected keys and values"):
        _load(tmp_path, data)


def _unknown_key(data: Value) -> None:
    data["records"][0]["titel"] = "x"


def _no_source(data: Value) -> None:
    del data["records"][0]["source"]


def _text_for_a_number(data: Value) -> None:
    data["records"][0]["time_minutes"] = "fast"


def _double(data: Value) -> None:
    data["records"].append(_row(3))


def _era(data: Value) -> None:
    data["records"][1]["era"] = "new"


def _excluded(data: Value) -> None:
    data["excluded"]["r01-r03"] = "no such pair"


def _flag(data: Value) -> None:
    data["records"][0]["flags"] = ["no_log", "fast"]


def _need(data: Value) -> None:
    data["records"][0]["needs"] = ["tpu"]


def _world_size(data: Value) -> None:
    data["records"][0]["world_sizes"] = [8, 3]


def _kind(data: Value) -> None:
    data["records"][0]["source"] = {"kind": "svn"}


def _no_commit(data: Value) -> None:
    data["records"][0]["source"] = {"kind": "git_early", "paths": ["train.py"]}


def _no_log(data: Value) -> None:
    data["records"][0]["source"] = {"kind": "log"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unknown_key, "Record: unknown key 'titel'; correct that key"),
        (_no_source, "Record: .*'source'; correct that key"),
        (_text_for_a_number, "time_minutes: expected float, got 'fast'; correct that key"),
        (_double, "record r03 stands twice; correct it"),
        (_era, "record r02 is of era 'new', which is none; correct it"),
        (_excluded, "excluded task r01-r03 is none; correct it"),
        (_flag, r"record r01: unknown flag 'fast' \(known: reconstructed_source, .*; correct it"),
        (_need, r"record r01: unknown need 'tpu' \(known: cuda, .*; correct it"),
        (_world_size, r"record r01: unknown world size 3 \(known: 1, 2, 4, 8\); correct it"),
        (_kind, "record r01: source kind 'svn' is none of git_early, git_final, log; correct it"),
        (_no_commit, "record r01: a source of kind git_early needs commit and paths; correct it"),
        (_no_log, "record r01: a source of kind log needs log; correct it"),
    ],
)
def test_a_spoilt_registry_names_file_and_fault(
    tmp_path: Path, spoil: Callable[[Value], None], message: str
) -> None:
    data = _small()
    spoil(data)
    with pytest.raises(SpeedrunError, match=rf"registry\.yaml: {message}") as caught:
        _load(tmp_path, data)
    assert "\n" not in str(caught.value)


# ---- records by name, transitions


@pytest.mark.parametrize(
    ("name", "nearest"), [("r9", "r09"), ("21b", "r21b"), ("r21d", "r21"), ("record 66", "r66")]
)
def test_an_unknown_record_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SpeedrunError, match=f"no record '{name}' .* nearest is '{nearest}'"):
        REAL.record(name)


@given(st.text())
def test_any_name_gives_a_record_or_names_one(name: str) -> None:
    try:
        assert REAL.record(name).id == name
    except SpeedrunError as error:
        assert str(error).rpartition("nearest is ")[2].strip("'") in REAL.by_id


def _record(number: int, letter: int) -> registry.Record:
    suffix = "" if letter == 0 else "abcdef"[letter]
    source = registry.Source("log", log="x.txt")
    time = 200.0 - number - letter / 10
    return registry.Record(f"r{number:02}{suffix}", number, time, "", "", "", source, {})


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_a_transition_joins_the_last_timing_to_the_next_first(timings: list[int]) -> None:
    rows = [_record(i, letter) for i, count in enumerate(timings, 1) for letter in range(count)]
    upstream = registry.Upstream("", "", "", "", "", "", "")
    found = registry.Registry("t", "train.py", upstream, [], {}, rows).transitions
    assert [pair.target.number - pair.start.number for pair in found] == [1] * (len(timings) - 1)
    assert all(pair.target.id == f"r{pair.target.number:02}" for pair in found)
    last = {row.number: row.id for row in rows}
    assert all(pair.start.id == last[pair.start.number] for pair in found)
    assert all(pair.gain_percent > 0 for pair in found)


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
