"""`make bench`: the harness's own cost a node, and how much of the quickstart is training.

CPU seconds are the steady figure on a shared machine. The cost a node is measured on the nano
track with the null coder, the real trainer and the sandbox, in a temporary folder: the CPU of the
whole workflow for many nodes less that for few, so that what a workflow costs once cancels, less
the CPU of the candidates themselves.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from speedrun import files, plan, schema
from speedrun.adapters import sweep
from speedrun.cli.measure import machine

REPOSITORY = Path(__file__).resolve().parents[1]
FEW, MANY = 2, 22  # nodes
STAGES = ("generate", "train", "analyze")
TRAINING = ("train.record.json", ".audit.record.json")
SESSION_GAP_S = 600.0  # a pause longer than any step of the workflow between two jobs


def main() -> None:
    """Print both figures with the machine and n."""
    print(f"machine: {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        cost_a_node(Path(folder))
    training_share(Path("results/quickstart"))


def cost_a_node(folder: Path) -> None:
    """Print the harness's CPU seconds a node, and the wall seconds of each stage."""
    few = workflow_cpu_s(folder, FEW)
    many = workflow_cpu_s(folder, MANY)  # plans and runs only the new nodes
    candidates = [candidate_cpu_s(node) for node in nodes(MANY, folder)]
    new = MANY - FEW
    idle = workflow_cpu_s(folder, MANY)  # nothing to do: what planning costs alone
    harness = (many - idle - sum(candidates[FEW:])) / new
    print(
        f"harness: {harness:.2f} CPU s a node (generate with null + train's harness + analyze + "
        f"Snakemake's share), n = {new} nodes; planning once: {idle:.2f} CPU s; "
        f"first {FEW} nodes with set-up: {few:.1f} CPU s"
    )
    for stage in STAGES:
        records = [
            schema.load(schema.StageRecord, node / f"{stage}.record.json")
            for node in nodes(MANY, folder)
        ]
        walls = sorted(record.seconds for record in records)
        print(f"  {stage}: median {walls[len(walls) // 2]:.3f} wall s inside the verb")


def workflow_cpu_s(folder: Path, seeds: int) -> float:
    """Run the bench sweep with ``seeds`` trials up to their analyses; return its CPU seconds."""
    targets = [str(node.relative_to(folder) / "analysis.json") for node in nodes(seeds, folder)]
    command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), "-c1"]
    config = ["--config", "sweep=bench", f"overrides={json.dumps([seeds_override(seeds)])}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, *targets, *config], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"bench: the workflow failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seeds_override(seeds: int) -> str:
    """Return the override that sets the number of trials."""
    return f"seeds=[{','.join(str(seed) for seed in range(seeds))}]"


def nodes(seeds: int, folder: Path) -> list[Path]:
    """Return the node folders of the bench sweep, in the order of their seeds."""
    config = sweep.load(REPOSITORY / "config", "bench", [seeds_override(seeds)])
    return [folder / trial.folder / "node_1" for trial in plan.trials(config)]


def candidate_cpu_s(node: Path) -> float:
    """Return what the candidate itself used, sandbox included."""
    return schema.load(schema.RunExit, node / "run" / "exit.json").cpu_total_s or 0.0


def training_share(results: Path) -> None:
    """Print the share of a finished sweep's wall time in which at least one training ran."""
    if not (results / "plan.json").is_file():
        print("training share: no quickstart results here; run `make quickstart` first")
        return
    records = sweep_records(results)
    whole = sorted(span(path) for path in records)
    trained = sorted(span(path) for path in records if path.name.endswith(TRAINING))
    print(f"quickstart: {share(whole, trained)}")


def sweep_records(results: Path) -> list[Path]:
    """Return the stage records of one sweep: its nodes, its references and its own folder.

    Paths in plan.json are relative to the folder that holds results/.
    """
    planned = files.read_json(results / "plan.json")
    root = results.parents[1]
    made = [
        f"{trial['folder']}/node_{node}"
        for trial in planned["trials"]
        for node in range(1, trial["n_nodes"] + 1)
    ]
    runs = [folder for folders in planned["references"].values() for folder in folders]
    folders = [results, *(root / folder for folder in [*made, *runs])]
    return [path for folder in folders for path in folder.rglob("*.record.json")]


def share(whole: list[tuple[float, float]], trained: list[tuple[float, float]]) -> str:
    """Return the share in words; both lists are sorted spans in epoch seconds."""
    if not whole:
        return "no stage has finished yet"
    idle_s = longest_idle_s(whole)
    if idle_s > SESSION_GAP_S:
        return (
            f"its records span more than one session (nothing ran for {idle_s:.0f} s), so the "
            "training share of its wall time is not defined"
        )
    wall_s = max(end for _, end in whole) - whole[0][0]
    busy_s = covered(trained)
    return (
        f"training ran in {busy_s:.0f} of {wall_s:.0f} s of wall time "
        f"({100 * busy_s / wall_s:.0f} %), {len(trained)} training jobs and audit blocks"
    )


def longest_idle_s(spans: list[tuple[float, float]]) -> float:
    """Return the longest time between the sorted spans in which none of them ran."""
    longest, until = 0.0, spans[0][1]
    for begin, end in spans:
        longest, until = max(longest, begin - until), max(until, end)
    return longest


def span(path: Path) -> tuple[float, float]:
    """Return a stage's begin and end in epoch seconds."""
    record = schema.load(schema.StageRecord, path)
    begin = datetime.fromisoformat(record.started).timestamp()
    return begin, begin + record.seconds


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the seconds covered by at least one of the sorted spans."""
    total, until = 0.0, float("-inf")
    for begin, end in spans:
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


if __name__ == "__main__":
    main()
