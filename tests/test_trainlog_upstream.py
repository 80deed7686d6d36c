"""The real logs of upstream: counts, spot values read by eye, statistics, the rule on clocks."""

from __future__ import annotations

import ast
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedrun import registry, trainlog
from speedrun.adapters import upstream_git
from speedrun.registry import Registry
from speedrun.runner.log import encode
from speedrun.schema import RunExit, TrackSpec
from speedrun.stages.analyze import clocks, reading
from speedrun.stages.records import statistics, verify
from speedrun.stages.records.statistics import tables

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif("SPEEDRUN_UPSTREAM" not in os.environ, reason="names no clone of upstream"),
]
FOLDER = "records/track_1_short"
H100 = "NVIDIA H100 80GB HBM3"
TRACK = TrackSpec(
    name="nanogpt", corpus="c", records=[], entry="train_gpt.py", target_loss=3.28,
    clock="train_time", train_time_ratio_min=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def known(repository: Path) -> Registry:
    return registry.load(repository / "tracks/nanogpt/registry.yaml")


@pytest.fixture(scope="module")
def upstream(known: Registry) -> upstream_git.GitRepository:
    clone = os.environ["SPEEDRUN_UPSTREAM"]
    return upstream_git.open_repository(clone, Path("unused"), [known.upstream.commit])


@pytest.fixture(scope="module")
def texts(upstream: upstream_git.GitRepository, known: Registry) -> dict[str, str]:
    paths = verify.log_files(upstream, known)
    found = upstream.read_many(known.upstream.commit, paths)
    return {path: content.decode("utf-8", "replace") for path, content in found}


@pytest.fixture(scope="module")
def logs(texts: dict[str, str]) -> dict[str, trainlog.TrainLog]:
    return {path: trainlog.parse(text) for path, text in texts.items()}


def test_every_linked_log_parses(logs: dict[str, trainlog.TrainLog]) -> None:
    assert len(logs) == 1053
    layouts = Counter(log.layout for log in logs.values())
    assert layouts == {"A": 2, "B2": 14, "B3": 8, "C3": 155, "C2": 397, "C2F": 477}


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_every_source_is_python(logs: dict[str, trainlog.TrainLog]) -> None:
    sources = {text for log in logs.values() for text in log.files.values()}
    assert len(sources) == 144
    for text in sources:
        ast.parse(text)
    assert sum(bool(log.files) for log in logs.values()) == 1051


def test_points_increase_and_only_one_run_stops_early(logs: dict[str, trainlog.TrainLog]) -> None:
    for log in logs.values():
        steps = [point.step for point in log.curve]
        times = [point.train_time_ms or 0 for point in log.curve]
        assert (steps, times) == (sorted(set(steps)), sorted(times))
    early = [path for path, log in logs.items() if not log.complete]
    assert [path.rsplit("/", 1)[1][:8] for path in early] == ["6037e443"]


def test_which_logs_are_of_other_gpus(logs: dict[str, trainlog.TrainLog]) -> None:
    kinds: dict[tuple[str, ...], list[str]] = {}
    for path, log in logs.items():
        kinds.setdefault(tuple(log.environment.gpus), []).append(path.split("/")[2])
    assert Counter(kinds[(H100,)]) == {
        "2026-01-10_FusedLinearReLUSquare": 2,
        "2026-01-24_ImprovedLMHead": 2,
        "2026-07-13_PrefixTokenPrediction": 25,
    }
    assert Counter(kinds[("NVIDIA H200",) * 8]) == {"2026-04-29_XSAGatedLayers": 30}
    assert (len(kinds[()]), len(kinds[(H100,) * 8])) == (2, 992)


# path, layout, points, last point, (torch, triton, driver), (allocated, reserved MiB)
SPOTS = [
    ("2024-10-13_llmc/main.log", "A", 80, (19560, 3.2722, None), ("", "", ""), (None, None)),
    ("2024-10-10_Muon/eb5659d0-fb6a-49e5-a311-f1f89412f726.txt", "B2", 51,
     (6200, 3.2785, 1339067), ("2.4.1+cu121", "", "535.129.03"), (None, None)),
    ("2024-11-19_FlexAttention/8384493d-dba9-4991-b16b-8696953f5e6d.txt", "B3", 16,
     (1875, 3.2783, 301825), ("2.6.0.dev20241119+cu124", "", "555.42.06"), (None, None)),
    ("2025-01-04_SoftCap/31d6c427-f1f7-4d8a-91be-a67b5dcd13fd.txt", "C3", 13,
     (1390, 3.2785, 204345), ("2.6.0.dev20241231+cu126", "", "550.127.05"), (31563, None)),
    ("2025-07-18_TritonMuon/record.txt", "C2", 15,
     (1750, 3.2780, 169042), ("2.9.0.dev20250718+cu126", "3.4.0", "570.148.08"), (34460, 48914)),
    ("2026-07-17_FP8DownProjection/baseline/1d7c6c03-846f-4dc8-9809-dcb1e42496da.txt", "C2F", 7,
     (1390, 3.2821, 80694), ("2.10.0+cu128", "3.6.0", "580.159.04"), (30908, 46472)),
]  # fmt: skip


@pytest.mark.parametrize(("path", "layout", "points", "last", "versions", "memory"), SPOTS)
def test_values_that_were_read_by_eye(
    logs: dict[str, trainlog.TrainLog],
    path: str,
    layout: str,
    points: int,
    last: tuple[int, float, int | None],
    versions: tuple[str, str, str],
    memory: tuple[int | None, int | None],
) -> None:
    log = logs[f"{FOLDER}/{path}"]
    environment = log.environment
    assert (log.layout, len(log.curve), log.complete) == (layout, points, True)
    assert (log.last.step, log.last.val_loss, log.last.train_time_ms) == last
    assert (environment.torch, environment.triton, environment.driver) == versions
    assert (log.peak_memory_mib, log.reserved_memory_mib) == memory


def test_statistics_of_the_records(
    upstream: upstream_git.GitRepository, known: Registry, repository: Path
) -> None:
    corpus = statistics.read(upstream, known)
    rows = statistics.rows_of(known, corpus)
    found = {row.record: row for row in rows}
    assert (len(rows), corpus.count, corpus.failures) == (91, 1053, {})
    assert (found["r48"].n, round(found["r48"].time_mean_s or 0, 2)) == (10, 131.21)
    assert (found["r88"].n, found["r88"].other_gpus, found["r88"].other_code) == (10, 25, 10)
    assert (found["r82"].gpus, found["r82"].difference_percent) == ("8x NVIDIA H200", None)
    assert (found["r64"].n, found["r64"].incomplete) == (7, 1)
    assert round(found["r85"].time_mean_s or 0, 2) == 75.52
    page = (repository / "docs/human-records.md").read_text()
    assert tables.into_page(page, rows) == page


# --- the clock "train_time" on honest scripts: their own lines, stamped as a harness would ---

STARTED_S, VALIDATION_S = 60.0, 2.5
LINE = re.compile(
    r"^step:\d+/\d+ (?:(val_loss)|train_loss)?\S* ?train_time:(\d+)ms step_avg:.*$", re.MULTILINE
)


def stamped(run: str) -> Iterator[bytes]:
    """Yield log lines whose wall stamps follow from the printed times, validations included.

    Where the printed time falls, the script's clock was started again just before that step.
    """
    wall_s, last_ms = STARTED_S, 0
    for match in LINE.finditer(run):
        time_ms = int(match[2])
        wall_s += (time_ms - last_ms if time_ms >= last_ms else time_ms) / 1000
        wall_s += VALIDATION_S if match[1] else 0.0
        last_ms = time_ms
        yield encode({"wall_s": wall_s, "cpu_s": 0.0, "line": match[0]})


def test_no_honest_log_violates_the_rule_on_clocks(
    texts: dict[str, str], known: Registry, tmp_path: Path
) -> None:
    checked = 0
    for record in known.records:
        texts_of = [text for path, text in texts.items() if path.startswith(f"{record.log}")]
        for text in texts_of[:1] if record.number > 2 and record.log else []:
            log = tmp_path / f"{record.id}.jsonl"
            log.write_bytes(b"".join(stamped(text[text.rindex("=" * 100) :])))
            seen = reading.read_log(log, two_lines=True)
            assert clocks.violation(seen, RunExit(True, "exited"), TRACK) == "", record.id
            assert clocks.time_s(seen, TRACK) == seen.last.train_time_ms / 1000
            checked += 1
    assert checked == 86
