"""Which cards a run takes, refuses and waits for: a stand-in for nvidia-smi."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import speedrun
from nvidia_smi import CARDS, GPU, Smi
from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.runner import clock, gpu
from train_bench import SPEC, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("1", "B"),
        ("1,0", "BA"),
        ("GPU-bb", "B"),
        ("", ""),
        (" 0 ", "A"),
        ("7", ""),
        ("0,0", "A"),
        (None, "AB"),
    ],
)
def test_cards_are_those_that_the_scheduler_left(choice: str | None, names: str) -> None:
    listed = [gpu.Card(str(i), uuid, name, "1", 0)
              for i, (uuid, name) in enumerate([("GPU-aa11", "A"), ("GPU-bb22", "B")])]  # fmt: skip
    assert "".join(card.name for card in gpu._visible(listed, choice)) == names


def test_too_few_or_other_cards_are_refused(bench: Bench, smi: Smi) -> None:
    smi(*CARDS)
    with pytest.raises(SpeedrunError, match=r"8 GPUs are needed and 2 are visible.*hardware="):
        bench.train("print('x')", **GPU, world_size=8)
    with pytest.raises(SpeedrunError, match=r"GPU 0 is a NVIDIA H200, not the NVIDIA L4"):
        bench.train("print('x')", device="cuda", gpu="NVIDIA L4")
    assert not (bench.out / "exit.json").exists()


def test_a_node_without_cards_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SpeedrunError, match=r"nvidia-smi does not answer here.*hardware=cpu"):
        bench.train("print('x')", **GPU)


def test_a_broken_driver_is_named(bench: Bench, smi: Smi) -> None:
    folder = smi()
    (folder / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(SpeedrunError, match=r"nvidia-smi does not answer here.*status 9"):
        bench.train("print('x')", **GPU)


def test_what_is_not_run_needs_no_card(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert bench.train(None, **GPU, not_run="the model declined").ran is False


BUSY = "0, GPU-aa11, NVIDIA H200, 580.1, 5000, 00000000:1B:00.0"


def test_a_busy_card_is_never_the_candidates_failure(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "FREE_WAIT_S", 0.0)
    smi(BUSY)
    with pytest.raises(SpeedrunError, match=r"holds 5000 MiB of GPU 0 \(NVIDIA H200\).*wait for"):
        bench.train("raise MemoryError", **GPU)
    assert not (bench.out / "exit.json").exists()


@pytest.mark.parametrize(("line", "why"), [(BUSY, "holds 5000"), ("", "0 are visible")])
def test_a_card_that_is_taken_or_lost_meanwhile_is_not_either(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch, line: str, why: str
) -> None:
    monkeypatch.setattr(gpu, "FREE_WAIT_S", 0.0)
    folder = smi(*CARDS)
    script = f"#!/bin/sh\necho '{line}'\n"
    meanwhile = f"open({str(folder / 'nvidia-smi')!r}, 'w').write({script!r})"
    with pytest.raises(SpeedrunError, match=why):
        bench.train(f"{meanwhile}\nraise MemoryError", **GPU, sandbox="none")
    assert not (bench.out / "exit.json").exists()
    assert not (bench.out / "finished.json").exists()


def test_memory_of_an_ended_program_is_waited_for(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "PAUSE_S", 0.3)
    folder = smi(BUSY)
    threading.Timer(0.8, smi, CARDS).start()
    ended = bench.train("print('x')", **GPU)
    assert (folder / "nvidia-smi").read_text().count("5000") == 0
    assert ended.gpus is not None
    assert ended.gpus.used_mb == [3]


def test_a_run_waits_for_the_card_that_another_uses(bench: Bench, smi: Smi) -> None:
    smi("0, GPU-test-lock, NVIDIA H200, 580.1, 3, 00000000:1B:00.0")
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with gpu.reserved(schema.from_dict(schema.TrainSpec, {**schema.to_dict(SPEC), **GPU})):
            held.set()
            let_go.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    threading.Timer(1.5, let_go.set).start()
    started_s = time.monotonic()
    ended = bench.train("print('x')", **GPU)
    other.join()
    waited_and_ran_s = time.monotonic() - started_s
    assert waited_and_ran_s > 1.4
    assert ended.wall_s is not None
    assert ended.wall_s < waited_and_ran_s - 1.4  # the wait is no part of the run


WAIT = """
import os, pathlib, subprocess, sys
from speedrun import schema
from speedrun.runner import gpu
if len(sys.argv) > 1:
    os.environ["SPEEDRUN_WORKFLOW_PID"] = str(os.getpid())
    subprocess.run([sys.executable, "-c", sys.argv[1]])
else:
    pathlib.Path("waits").write_text(str(os.getpid()))
    with gpu.reserved(schema.from_dict(schema.TrainSpec, SPEC)): pathlib.Path("ran").touch()
"""


def test_a_wait_ends_with_the_workflow_that_asked_for_the_run(tmp_path: Path, smi: Smi) -> None:
    """Otherwise it would take the card for hours when it is free, for nobody."""
    smi("0, GPU-test-orphan, NVIDIA H200, 580.1, 3, 00000000:1B:00.0")
    spec = schema.from_dict(schema.TrainSpec, {**schema.to_dict(SPEC), **GPU})
    code = WAIT.replace("SPEC", repr(schema.to_dict(spec)))
    words = [sys.executable, "-c", code, code]
    source = str(Path(speedrun.__file__).parents[1])
    with gpu.reserved(spec):
        started = subprocess.Popen(
            words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, stderr=subprocess.DEVNULL
        )
        assert _wait_for(lambda: (tmp_path / "waits").is_file() and _pid(tmp_path) > 0)
        time.sleep(0.5)
        started.kill()
        started.wait()
        assert _wait_for(lambda: _ended(_pid(tmp_path)))
    assert not (tmp_path / "ran").exists()


def _pid(folder: Path) -> int:
    return int((folder / "waits").read_text() or 0)


def _ended(pid: int) -> bool:
    process = clock.read_process(pid)
    return process is None or process.ended


def _wait_for(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return condition()
