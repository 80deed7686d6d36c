"""`make bench`: what a node costs beside model and training, and what a search makes of devices.

A model on a loopback server and the simulated trainer, through the whole workflow. First a flat
trial whose model answers at once and whose trainings take no time: all that is left is overhead.
Then eight concurrent trials whose model and trainings take real time, scaled down by a stated
factor: the share of device time spent training, beside a bound that no schedule can beat and beside
simulated schedules of the paper's loop.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from schedules import Load, bound_s, one_by_one_s, pipelined_s, serial_s

from speedrun import plan, schema, search
from speedrun.adapters import sweep
from speedrun.cli.measure import machine

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "tests"))
from model_server import ModelServer  # noqa: E402

FEW, MANY = 2, 22  # nodes of the flat trial
LATENCY_S, TRAINING_S = 60.0, 180.0
SCALES = (40.0, 20.0)  # or those of the command line: the larger, the shorter the run
DEVICES, CORES = 4, 6
ARMS, SEEDS, NODES = ("aide", "tree"), 4, 8
AIM = 0.95  # of the bound
STAGES = ("generate", "train", "analyze")


@dataclass(frozen=True)
class Run:
    """One run of the workflow up to its nodes' analyses."""

    cpu_s: float  # of the workflow and all its jobs
    wall_s: float


def main() -> None:
    """Print all figures with the machine and n."""
    print(f"machine: {machine()}; 1-minute load {os.getloadavg()[0]:.1f} before the run")
    with tempfile.TemporaryDirectory() as folder, ModelServer(_Author()) as server:
        bench = Bench(Path(folder), server)
        bench.workflow("references", ["seeds=[0]"])
        cost_a_node(bench)
        compare(load(1.0))
        scales = [float(word) for word in sys.argv[1:]] or SCALES
        shares = [(scale, share_of_bound(bench, scale)) for scale in scales]
        print(conclusion(shares))


class _Author:
    """A model that adds another comment to its parent each time."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, body: dict[str, Any]) -> str:
        anchor = "import numpy as np"
        changed = f"{anchor}\n=======\n{anchor}\n# reply {next(self._numbers)}"
        return f"### EDIT: train.py\n<<<<<<< SEARCH\n{changed}\n>>>>>>> REPLACE\n"


@dataclass(frozen=True)
class Bench:
    """A folder to work in and a model to ask."""

    folder: Path
    server: ModelServer

    def overrides(self, own: Sequence[str]) -> list[str]:
        """Return the overrides of a run on the bench sweep: our arms alone, simulated."""
        model = [f"+models.vllm.base_url={self.server.url}", "+models.vllm.concurrency=64"]
        return ["hardware.trainer=simulated", *model, *own]

    def workflow(self, target: str, own: Sequence[str], *arguments: str) -> Run:
        """Run the workflow; what it says is shown only if it fails."""
        overrides = f"overrides={json.dumps(self.overrides(own))}"
        line = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), target]
        line += ["-c2", *arguments, "--config", "sweep=bench", overrides]
        before, started_s = _children_cpu_s(), time.monotonic()
        done = subprocess.run(line, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"bench: the workflow failed:\n{done.stderr[-3000:]}")
        return Run(_children_cpu_s() - before, time.monotonic() - started_s)

    def trials(self, own: Sequence[str]) -> list[plan.Trial]:
        """Return the trials that the overrides name."""
        return plan.trials(sweep.load(REPOSITORY / "config", "bench", self.overrides(own)))

    def records(self, trials: Sequence[plan.Trial], stage: str) -> list[schema.StageRecord]:
        """Return a stage's records of all nodes."""
        return [
            schema.load(schema.StageRecord, self.folder / trial.folder / node / name)
            for trial in trials
            for node in (f"node_{number}" for number in range(1, trial.n_nodes + 1))
            for name in [f"{stage}.record.json"]
        ]


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _arm(scaffold: str, n_nodes: int) -> str:
    own = f"{{name: {scaffold}, n_nodes: {n_nodes}}}"
    return f"+arms.{scaffold}={{coder: direct, model: vllm, scaffold: {own}}}"


def cost_a_node(bench: Bench) -> None:
    """Print CPU and wall seconds a node of a flat trial, nothing being waited for."""
    alone = ["~arms.null", "seeds=[0]"]
    few, many, idle = (
        bench.workflow("trials", [*alone, _arm("flat", nodes)]) for nodes in (FEW, MANY, MANY)
    )
    new = MANY - FEW
    print(
        f"overhead: {(many.cpu_s - idle.cpu_s) / new:.2f} CPU s and "
        f"{(many.wall_s - idle.wall_s) / new:.2f} wall s a node on 2 cores (generate with direct + "
        f"train's harness + analyze + Snakemake's share), n = {new} nodes of one flat trial; "
        f"planning once: {idle.cpu_s:.2f} CPU s; first {FEW} nodes: {few.cpu_s:.1f} CPU s"
    )
    for stage in STAGES:
        walls = [
            one.seconds for one in bench.records(bench.trials([*alone, _arm("flat", MANY)]), stage)
        ]
        print(f"  {stage}: median {_median(walls):.3f} wall s inside the verb")


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def load(scale: float) -> Load:
    """Return what the concurrent trials have to do."""
    sizes = [
        [len(group) for group in search.generations(_scaffold(name), NODES)]
        for name in ARMS
        for _ in range(SEEDS)
    ]
    return Load(sizes, DEVICES, LATENCY_S / scale, TRAINING_S / scale)


def _scaffold(name: str) -> search.Scaffold:
    config = sweep.load(REPOSITORY / "config", "bench", [f"scaffold={name}"])
    return search.scaffold(config["scaffold"])


def compare(unscaled: Load) -> None:
    """Print the shares that schedules without any overhead would reach."""
    print(
        f"devices: {len(unscaled.trials)} concurrent trials ({' and '.join(ARMS)}, M = {NODES}), "
        f"{DEVICES} devices, model {LATENCY_S:g} s, training {TRAINING_S:g} s; share of device "
        f"time spent training, calculated without overhead:"
    )
    schedules = {
        "bound (longest chain, or one answer and then all work evenly)": bound_s,
        "list schedule (a generation's questions together, all trials at once)": pipelined_s,
        "the paper's loop (serial questions, a barrier a batch), all trials at once": serial_s,
        "the same, one trial after another": one_by_one_s,
    }
    for name, makespan in schedules.items():
        seconds = makespan(unscaled)
        print(f"  {100 * unscaled.share(seconds):5.1f} %  {seconds:6.0f} s  {name}")


def share_of_bound(bench: Bench, scale: float) -> float:
    """Run the trials at a scale, print the shares, and return the measured one over the bound's."""
    scaled = load(scale)
    seconds = f"+hardware.environment.SIMULATED_SECONDS='{scaled.training_s:g}'"
    own = ["~arms.null", f"seeds={list(range(SEEDS))}".replace(" ", ""), seconds]
    own += [_arm(name, NODES) for name in ARMS]
    bench.server.latency_s = 0.0
    bench.workflow("references", own, f"-c{CORES}")
    bench.server.latency_s = scaled.latency_s
    run = bench.workflow("trials", own, f"-c{CORES}", "--resources", f"device={DEVICES}")
    trials = bench.trials(own)
    trained = bench.records(trials, "train")
    makespan_s = max(map(_end_s, trained)) - min(map(_start_s, bench.records(trials, "generate")))
    share, best = scaled.share(makespan_s), scaled.share(bound_s(scaled))
    print(
        f"  1/{scale:g} (model {scaled.latency_s:g} s, training {scaled.training_s:g} s): "
        f"{100 * share:.1f} % measured, {100 * share / best:.1f} % of the bound; makespan "
        f"{makespan_s:.1f} s, bound {bound_s(scaled):.1f} s; {run.cpu_s / len(trained):.2f} CPU s "
        f"a node, {run.cpu_s / run.wall_s:.2f} cores busy, n = {len(trained)} nodes, one run"
    )
    return share / best


def _start_s(record: schema.StageRecord) -> float:
    return datetime.fromisoformat(record.started).timestamp()


def _end_s(record: schema.StageRecord) -> float:
    return _start_s(record) + record.seconds


def conclusion(shares: Sequence[tuple[float, float]]) -> str:
    """Return where the aim was met, and what the seconds lost would be at full length."""
    met = [f"1/{scale:g}" for scale, share in shares if share >= AIM]
    scale, share = min(shares)
    lost_s = bound_s(load(scale)) / share - pipelined_s(load(scale))
    full_s = pipelined_s(load(1.0)) + lost_s
    return (
        f"  at least {100 * AIM:g} % of the bound at: {', '.join(met) or 'no scale'}; unscaled "
        f"{100 * bound_s(load(1.0)) / full_s:.1f} %, calculated: the list schedule and as many "
        f"seconds of overhead as at 1/{scale:g} ({lost_s:.1f} s)"
    )


if __name__ == "__main__":
    main()
