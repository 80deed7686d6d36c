"""`make bench`: CPU seconds for reading and parsing every log that upstream keeps of its records.

SPEEDRUN_UPSTREAM names a clone of upstream, or store/upstream/nanogpt.git holds the mirror; without
either, as many made-up logs of today's layout and length are parsed, and the line says so.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from speedrun import registry, trainlog
from speedrun.adapters import upstream_git
from speedrun.cli.measure import machine
from speedrun.stages.records import verify

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = ROOT / "tracks/nanogpt/registry.yaml"
MIRROR = ROOT / "store/upstream/nanogpt.git"
MADE_UP = 1053  # logs, as many as upstream's
AIM_S = 10.0
RULE = "=" * 100
HEADER = """Running Python 3.12.7 (main, Oct 1 2024, 00:00:00) [GCC 13.2.0]
Running PyTorch 2.10.0+cu128 compiled for CUDA 12.8
| NVIDIA-SMI 570.148.08             Driver Version: 570.148.08     CUDA Version: 12.8     |
"""
GPU = (
    "|   {}  NVIDIA H100 80GB HBM3          On  |   00000000:61:00.0 Off |                    0 |\n"
)


def main() -> None:
    """Print the figure with the machine and n."""
    print(f"machine: {machine()}")
    parse_logs()


def parse_logs() -> None:
    """Read and parse all logs once; print CPU seconds, git's included."""
    known = registry.load(REGISTRY)
    clone = os.environ.get("SPEEDRUN_UPSTREAM", "")
    what = (
        "logs of upstream, read from git"
        if clone or MIRROR.exists()
        else "made-up logs, their making included"
    )
    before_s = cpu_s()
    n, size, failures = parse_all(upstream(clone, known) if "git" in what else made_up(MADE_UP))
    print(
        f"logs: {cpu_s() - before_s:.2f} CPU s for {n} {what} ({size / 1e6:.0f} MB), n = 1 pass, "
        f"{failures} failures (aim: {AIM_S:g} CPU s)"
    )


def upstream(clone: str, known: registry.Registry) -> Iterator[bytes]:
    """Yield the logs of all linked folders."""
    commit = known.upstream.commit
    repository = upstream_git.open_repository(clone or known.upstream.url, MIRROR, [commit])
    paths = verify.log_files(repository, known)
    repository.prefetch({commit: paths})
    return (content for _, content in repository.read_many(commit, paths))


def made_up(count: int) -> Iterator[bytes]:
    """Yield logs of the layout of record 27 and later: 100 kB of source, 1,500 steps."""
    code = "import torch\n" + "    x = torch.relu(x @ w.T).square()  # a line of source\n" * 1800
    gpus = "".join(GPU.format(index) for index in range(8))
    for number in range(count):
        lines = (line(step, number) for step in range(1501))
        text = "".join([code, RULE, "\n", HEADER, gpus, RULE, "\n", *lines])
        yield f"{text}peak memory allocated: 30141 MiB reserved: 45096 MiB\n".encode()


def line(step: int, number: int) -> str:
    """Return the line of a training step, and of every 250th a validation line."""
    end = f"train_time:{60 * step + number}ms step_avg:60.00ms\n"
    loss = f"step:{step}/1500 val_loss:{3.2 + 7 / (step + 1):.4f} {end}"
    return (loss if step % 250 == 0 else "") + f"step:{step}/1500 {end}"


def parse_all(logs: Iterator[bytes]) -> tuple[int, int, int]:
    """Parse the logs; return how many they were, their bytes, and how many failed."""
    count = size = failures = 0
    for content in logs:
        count, size = count + 1, size + len(content)
        try:
            trainlog.parse(content.decode("utf-8", "replace"))
        except ValueError:
            failures += 1
    return count, size, failures


def cpu_s() -> float:
    """Return the CPU seconds of this process and of the git processes that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
