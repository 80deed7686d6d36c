"""torchrun in the real sandbox: two processes on the CPU that meet over loopback (gloo)."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import pytest

from train_bench import LINE, Bench

pytestmark = pytest.mark.slow
TORCHRUN: dict[str, Any] = {
    "launch": "torchrun", "world_size": 2, "data_prefix": "fineweb10B/", "timeout_s": 120,
    "memory_mb": 3000, "processes": 40,
}  # fmt: skip
START = """
import glob, os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
def burn(s):
    t = time.process_time()
    while time.process_time() - t < s:
        pass
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _alive(mark: str) -> list[str]:
    """Return the command lines of processes that hold ``mark``."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if mark in words:
            found.append(" ".join(words))
    return found


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_two_processes_read_the_data_and_add_up(bench: Bench, kind: str) -> None:
    code = START + (
        "size = torch.tensor([os.path.getsize(p) for p in glob.glob(sys.argv[2])]).sum()\n"
        "burn(1.0 if rank else 0.2)\n"
        "dist.all_reduce(size)\n"
        "if rank == 0:\n"
        "    print([sys.argv, int(size), dist.get_world_size()])\n"
        f"    print({LINE!r}, flush=True)\n"
        "dist.destroy_process_group()\n"
    )
    pattern = "data/fineweb10B/train_*.bin"
    (bench.solution / "arguments.txt").write_text(f"--input_bin\n{pattern}\n")
    ended = bench.train(code, sandbox=kind, **TORCHRUN)
    assert (ended.reason, ended.exit_code) == ("exited", 0), bench.lines()
    said = next(line for line in bench.lines() if line.startswith("[["))
    assert ast.literal_eval(said) == [["train.py", "--input_bin", pattern], 2 * 1030, 2]
    assert LINE in bench.lines()
    assert ended.cpu_s is not None
    assert ended.cpu_s > 1.2  # both processes' work, neither of which we started ourselves
    assert ended.torch != "absent"


def test_a_process_that_fails_ends_the_run(bench: Bench) -> None:
    code = START + "if rank == 1: raise RuntimeError('bad rank')\ndist.barrier()\n"
    ended = bench.train(code, **TORCHRUN)
    assert (ended.reason, ended.exit_code) == ("exited", 1)
    assert any("RuntimeError: bad rank" in line for line in bench.lines())


def test_a_file_named_like_the_folder_of_logs_is_the_candidates_own(bench: Bench) -> None:
    (bench.solution / "logs").write_text("mine")
    ended = bench.train("print(open('logs').read())", **TORCHRUN)
    assert (ended.exit_code, "mine" in "".join(bench.lines())) == (0, True)


def test_a_cap_ends_every_process(bench: Bench) -> None:
    mark = f"mark-{bench.folder.name}-{os.getpid()}"
    code = START + (
        "kept = bytearray(10**9) if rank else b''\n"
        "for i in range(0, len(kept), 4096): kept[i] = 1\n"
        "time.sleep(100)\n"
    )
    (bench.solution / "arguments.txt").write_text(mark)
    ended = bench.train(code, **{**TORCHRUN, "memory_mb": 1500})
    assert ended.reason == "oom"
    assert _alive(mark) == []
