"""trainlog: logs of every layout made from known values, and text that is no log at all."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import trainlog
from speedrun.runner import protocol
from upstream_logs import SECOND_FILE, SEPARATOR, Log

WITH_SOURCE = ["B2", "B3", "C3", "C2", "C2F"]
MAIN = "import torch\n\nprint0(f'step:{step}/{args.num_iterations} val_loss:{val_loss:.4f}')\n"
TRAP = "step:9/9 val_loss:1.0000 train_time:1ms step_avg:1.00ms"  # at the start of a source line
SOURCES = st.lists(
    st.sampled_from(
        [
            "import os",
            "x = 1  ",
            "",
            "    y = '=' * 100",
            TRAP,
            "peak memory ",
            SEPARATOR,
            "Running PyTorch 9.9.9+cu999 compiled for CUDA 99.9",
            "NVIDIA-SMI",
            SECOND_FILE,
            "# no name",
        ]
    ),
    max_size=6,
).map(lambda lines: "import torch\n" + "\n".join(lines).rstrip() + "\nend = 1\n")


def sources(layout: str, text: str = MAIN) -> dict[str, str]:
    others = ["triton_kernels.py", "dc_triton_kernels.py"] if layout == "C2F" else []
    return {} if layout == "A" else {trainlog.ENTRY: text} | dict.fromkeys(others, text + "z = 0\n")


@st.composite
def logs(draw: st.DrawFn) -> Log:
    layout = draw(st.sampled_from(["A", *WITH_SOURCE]))
    steps = draw(st.integers(20, 60))
    return Log(
        layout=layout,
        files=sources(layout, draw(SOURCES)),
        steps=steps,
        val_every=draw(st.integers(3, 30)),
        last_step=None if layout == "A" else draw(st.none() | st.integers(0, steps - 1)),
        last_loss=draw(st.integers(20_000, 40_000)) / 10_000,
        step_ms=draw(st.integers(1, 500)),
        gpus=draw(st.integers(0, 8)),
        gpu=draw(st.sampled_from(["NVIDIA H100 80GB HBM3", "NVIDIA H200", "Tesla T4"])),
        triton=draw(st.sampled_from(["", "3.5.0"])),
        line_end=draw(st.sampled_from(["\n", "\r\n"])),
        raw_noise=b"" if layout == "A" else draw(st.sampled_from([b"", b"Compiling", b"\xff\xfe"])),
    )


@settings(max_examples=150)
@given(logs())
def test_round_trip_of_every_layout(log: Log) -> None:
    found = trainlog.parse(log.content().decode("utf-8", "replace"))
    assert (found.layout, found.files, found.complete) == (log.layout, log.files, log.complete)
    points = [(point.step, point.val_loss, point.train_time_ms) for point in found.curve]
    assert points == log.curve
    if log.layout == "A":
        assert found.environment == trainlog.Environment()
        return
    assert {point.steps for point in found.curve} == {log.steps}
    environment = found.environment
    assert (environment.torch, environment.cuda) == (log.torch, log.cuda)
    assert environment.triton == ("" if log.layout in ("B2", "B3") else log.triton)
    assert environment.driver == "550.127.05"
    assert environment.gpus == [log.gpu] * log.gpus


@pytest.mark.parametrize(
    ("layout", "memory"), [("B2", (None, None)), ("C3", (31563, None)), ("C2F", (37653, 39236))]
)
def test_peak_memory(layout: str, memory: tuple[int | None, int | None]) -> None:
    found = trainlog.parse(Log(layout, sources(layout)).content().decode())
    assert (found.peak_memory_mib, found.reserved_memory_mib) == memory


def test_python_of_the_header() -> None:
    found = trainlog.parse(Log("C2", sources("C2")).content().decode())
    assert found.environment.python == "3.12.7"


@pytest.mark.parametrize("layout", WITH_SOURCE)
def test_nothing_comes_from_the_code(layout: str) -> None:
    """A source full of look-alikes changes neither values nor environment."""
    lies = [SEPARATOR, "Running PyTorch 9.9+cu99 compiled for CUDA 9.9", SEPARATOR, TRAP,
            "val loss 1.0", "s:9 tel:1.0",
            "|   0  NVIDIA FAKE                    On  |   00000000:10:00.0 Off |",
            "peak memory allocated: 1 MiB reserved: 1 MiB"]  # fmt: skip
    honest = trainlog.parse(Log(layout, sources(layout)).content().decode())
    found = trainlog.parse(
        Log(layout, sources(layout, MAIN + "\n".join(lies) + "\n")).content().decode()
    )
    assert (found.curve, found.environment) == (honest.curve, honest.environment)
    assert found.peak_memory_mib == honest.peak_memory_mib
    assert TRAP in found.files[trainlog.ENTRY]


def test_rules_that_the_run_prints_itself_lose_nothing() -> None:
    text = Log("C2", sources("C2")).content().decode()
    assert trainlog.parse(text + SEPARATOR + "\ndone\n").curve == trainlog.parse(text).curve


def test_last_step_that_was_not_reached() -> None:
    log = Log("C2", sources("C2"), steps=100, val_every=25, last_step=60)
    found = trainlog.parse(log.content().decode())
    assert (found.complete, found.last.step, found.last.steps) == (False, 50, 100)


def test_llmc_log_that_ends_in_training_is_incomplete() -> None:
    text = Log("A", steps=100, val_every=30).content().decode()
    found = trainlog.parse(text[: text.rindex("s:100 tel")])
    assert (found.complete, found.last.step, found.last.steps) == (False, 90, None)


def test_lines_of_a_candidate() -> None:
    lines = ["loading", TRAP.replace("9/9", "0/9").replace("1.0000", "nan"), "val loss 2.0", TRAP,
             "peak memory allocated: 5 MiB reserved: 7 MiB", "bye"]  # fmt: skip
    found = trainlog.parse("\n".join(lines))
    assert (found.layout, found.files, found.complete) == ("protocol", {}, True)
    assert math.isnan(found.curve[0].val_loss)
    assert found.curve[1] == trainlog.Point(9, 9, 1.0, 1)
    assert (found.peak_memory_mib, found.reserved_memory_mib) == (5, 7)


CONSOLE = """Running pytorch 2.3.1+cu121
using device: cuda:0
compiling the model...
val loss 10.982734203338623
step    1/3 | train loss 10.986 | norm 15.2 | lr 2.34e-06 | (71234.56 ms | 7000 tok/s)
step    2/3 | train loss 10.961 | norm 15.1 | lr 4.69e-06 | (220.25 ms | 2400000 tok/s)
val loss 9.5
step    3/3 | train loss 3.2 | lr_scale 1.00e+00 | (219.19 ms | 2400000 tok/s)
val loss 3.2766101360321045
final 2 iters avg: 219.720ms
peak memory consumption: 31563 MiB
"""


def test_console_of_the_first_records() -> None:
    found = trainlog.parse(CONSOLE)
    assert (found.layout, found.complete, found.peak_memory_mib) == ("console", True, 31563)
    assert found.environment.torch == "2.3.1+cu121"
    assert found.curve == [
        trainlog.Point(0, None, 10.982734203338623, 0),
        trainlog.Point(2, 3, 9.5, 71455),
        trainlog.Point(3, 3, 3.2766101360321045, 71674),
    ]
    assert not trainlog.parse(CONSOLE[: CONSOLE.index("step    3/3")]).complete


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 20)), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_round_trip_of_the_console(steps: list[tuple[float, float]], every: int) -> None:
    """Each step has its milliseconds and the loss of the validation that may follow it."""
    lines, expected, time_ms = [], [], 0.0
    for step, (step_ms, loss) in enumerate(steps, start=1):
        time_ms += float(f"{step_ms:.2f}")
        report = f"({step_ms:.2f} ms | 2400000 tok/s)"
        lines.append(f"step {step:4d}/{len(steps)} | train loss 3.2 | lr 1.00e+00 | {report}")
        if step % every == 0 or step == len(steps):
            lines.append(f"val loss {loss:.16f}")
            expected.append((step, float(f"{loss:.16f}"), round(time_ms)))
    found = trainlog.parse("\n".join(lines))
    assert (found.layout, found.complete) == ("console", True)
    assert [(at.step, at.val_loss, at.train_time_ms) for at in found.curve] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no training log"),
        ("step:1/2 train_time:5ms step_avg:5.0ms\n", "no training log"),
        (f"import torch\n{TRAP}\n{SEPARATOR}\n", "cut short: source, but no header"),
        (f"{SEPARATOR}\nimport torch\n{TRAP}\n{SEPARATOR}\n\n", "cut short"),
        (f"import torch\n{TRAP}\n{SEPARATOR}\nRunning Python 3.12.7 \n"
         f"| NVIDIA-SMI 550 |\n{SEPARATOR}\nwaiting\n",
         "before its first validation line"),
        ("s:1 tel:1.2.3\n", "holds no number"),
    ],
)  # fmt: skip
def test_text_that_is_no_log(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        trainlog.parse(text)


PIECES = st.sampled_from([
    SEPARATOR, SEPARATOR + " ", SECOND_FILE, "# kernels.py", "# ../x.py", "Running Python 3.12 ",
    "Running PyTorch ", "import os", TRAP, "val loss 1e999", "s:1 tel:nan", "s:2 tel:..", CONSOLE,
    "peak memory allocated: ", "step 1/2 | x (1.5 ms | 3", "Training DataLoader:", "\r\n",
])  # fmt: skip


@settings(max_examples=300)
@given(st.text() | st.lists(PIECES | st.text(max_size=20)).map("\n".join))
def test_any_text_is_a_log_or_a_value_error(text: str) -> None:
    try:
        found = trainlog.parse(text)
    except ValueError:
        return
    assert found.curve
    assert all(name.endswith(".py") and "/" not in name for name in found.files)


@settings(max_examples=200)
@given(st.lists(PIECES | st.text(max_size=40)).map("\n".join))
def test_text_and_lines_are_read_by_one_grammar(text: str) -> None:
    lines = text.split("\n")
    own = [found for line in lines if (found := protocol.parse(line))]
    assert str(list(protocol.parse_all(text))) == str(own)
    reader = protocol.TwoLineReader()
    other = [found for line in lines if (found := reader.feed(line))]
    assert str(list(protocol.parse_two_lines(text))) == str(other)


@given(SOURCES, st.sampled_from(["", "\n", "  \n\n", "\r\n"]), st.sampled_from(["", "\n \n"]))
def test_normalised_text_is_stable(source: str, before: str, after: str) -> None:
    once = trainlog.normalised(before + source.replace("\n", "\r\n") + after)
    assert once == source
    assert trainlog.normalised(once) == once
    assert trainlog.normalised(before) == ""


MEGABYTE = 2**20
HOSTILE: dict[str, Callable[[int], str]] = {
    "separators": lambda n: (SEPARATOR + "\n") * (n // 101),
    "no newline": lambda n: "step:" * (n // 5),
    "dashes": lambda n: "-" * n,
    "gpus": lambda n: "Running Python 3.1 \n" + "|   0  " + (" " * 99 + "On\n|   0 ") * (n // 110),
    "steps": lambda n: "step 1/2 |" + "(1 ms (1 m" * (n // 10),
    "llmc": lambda n: "s:1 tel:" + "9" * n,
    "losses": lambda n: "val loss 1.0\n" * (n // 13),
    "equals": lambda n: "=" * n,
    "files": lambda n: f"\n{SECOND_FILE}\n# a.py\n{SECOND_FILE}" * (n // 90),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_bounded_whatever_is_printed(name: str) -> None:
    """64 MiB, the most that a run may print, must be read in seconds."""
    text = HOSTILE[name](8 * MEGABYTE)
    start_s = time.process_time()
    with contextlib.suppress(ValueError):
        trainlog.parse(text)
    assert time.process_time() - start_s < 4.0


def test_memory_is_bounded_whatever_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainlog, "POINTS_MAX", 5000)
    text = (TRAP + "\n") * (8 * MEGABYTE // len(TRAP))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 5000 validation lines"):
            trainlog.parse(text)
        assert tracemalloc.get_traced_memory()[1] < 64 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_made_up_logs_of_the_bench_are_like_real_ones(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location("bench_logs", repository / "bench/logs.py")
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    logs = list(bench.made_up(2))
    assert bench.parse_all(iter([*logs, b"none"])) == (3, sum(map(len, logs)) + 4, 1)
    found = trainlog.parse(logs[1].decode())
    assert (found.layout, len(found.curve), found.complete) == ("C2", 7, True)
    assert (len(found.environment.gpus), found.reserved_memory_mib) == (8, 45096)
    assert len(logs[1]) == pytest.approx(190e6 / 1053, rel=0.1)
