"""train: one solution, run in the sandbox under the harness's clock.

Standard library only on this side, so that a bare node with just Python and torch can run it.
Writes ``log.jsonl`` (one ``{"wall_s", "cpu_s", "line"}`` a line of output), ``probe_logits.npy``
if the script left one, and ``exit.json`` last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, schema, versions
from speedrun.files import SpeedrunError
from speedrun.runner import (
    apptainer,
    contain,
    gpu,
    hub,
    launch,
    logfile,
    process,
    sandbox,
    shards,
    simulated,
    workplace,
)
from speedrun.runner.start import Command
from speedrun.runner.workplace import Place
from speedrun.schema import RunExit, TrainSpec

PROBE_ANSWER = "probe_logits.npy"
PROBE_ANSWER_BYTES = 64 * 2**20
# Keys of finished runs hold these only where they differ from their defaults: runs that were paid
# for before there were such settings stay good.
LATER = ("launch", "world_size", "data_prefix", "gpu", "hub_cache", "train_shards", "image")


@dataclass(frozen=True)
class _Job:
    """Everything that decides one run; ``inputs`` maps names under data/ to files."""

    solution: Path
    digest: str
    entry: str
    inputs: dict[str, Path]
    spec: TrainSpec
    seed: int
    not_run: str
    cpu: int | None
    arguments: list[str]  # of the entry file


def train(
    solution: Path,
    entry: str,
    data: Path,
    probes: Path | None,
    out: Path,
    spec: TrainSpec,
    seed: int,
    not_run: str = "",
    cpu: int | None = None,
) -> RunExit:
    """Run ``entry`` of the folder ``solution`` and write the run folder ``out``.

    ``data`` holds the public shards (``*.bin``), ``probes`` the contexts shown as
    ``data/probes.npy``. ``not_run`` says why there is nothing to run; ``cpu`` pins the run to a
    core. A finished run with the same inputs is not repeated. Raises SpeedrunError for a corrupt
    shard, a sandbox that does not start or a log that cannot be written.
    """
    there = solution.is_dir()
    misfit = workplace.misfit(solution) if there else ""
    why, arguments = not_run or misfit or _nothing_to_run(solution, entry), list[str]()
    try:
        arguments = [] if why else launch.arguments(solution)
    except ValueError as error:
        why = f"the solution's {error}"
    inputs = {} if why else shards.inputs(data, spec, probes)
    digest = files.digest_tree(solution) if there and not misfit else ""
    job = _Job(solution, digest, entry, inputs, spec, seed, why, cpu, arguments)
    key = _key(job)
    finished = _finished(out, key)
    if finished is None:
        _clear(out)
        finished = dataclasses.replace(_execute(job, out), key=key)
        schema.save(out / "finished.json", finished)
    schema.save(out / "exit.json", finished)
    return finished


def _nothing_to_run(solution: Path, entry: str) -> str:
    """Return why the folder cannot be run, "" if it can."""
    if os.path.lexists(solution / shards.FOLDER):
        return f"solution holds {shards.FOLDER}/, which the harness provides"
    missing = not (solution / entry).is_file()
    return f"solution has no {entry}" if missing else ""


def _key(job: _Job) -> str:
    """Return the digest of what decides the run; the core it is pinned to does not."""
    parts = {
        "version": versions.TRAIN,
        "interpreter": _interpreter_versions(job.spec),
        "solution": job.digest,
        "entry": job.entry,
        "inputs": shards.digests(job.inputs),
        "spec": _deciding(job.spec),
        "seed": job.seed,
        "not_run": job.not_run,
    }
    if gpu.used(job.spec) and not job.not_run:
        parts["gpus"] = [card.name for card in gpu.cards(job.spec)]
        parts["hub"] = hub.contents(job.spec)
    return files.digest_value(parts)


def _deciding(spec: TrainSpec) -> dict[str, Any]:
    """Return the settings that belong to the key."""
    defaults = {item.name: item.default for item in dataclasses.fields(spec)}
    values: dict[str, Any] = schema.to_dict(spec)
    return {
        name: value
        for name, value in values.items()
        if name not in LATER or value != defaults[name]
    }


def _interpreter_versions(spec: TrainSpec) -> dict[str, str]:
    """Return what a clock depends on besides the spec, so that an upgrade does not reuse it.

    A simulated run is made by nobody's interpreter and is the same everywhere.
    """
    if spec.trainer == "simulated":
        return {}
    python = sandbox.interpreter(spec.python)
    found = {"python": python.version, "torch": python.version_of("torch")}
    built = python.prefix / "environment.json"  # of an era's environment: every package in it
    if spec.sandbox == "apptainer":
        found["image"] = apptainer.identity(spec.image)
    return {**found, "packages": files.digest_file(built)} if built.is_file() else found


def _finished(out: Path, key: str) -> RunExit | None:
    """Return the run that ``out`` holds if it is this one and whole.

    A workflow deletes the declared outputs of a job that it thinks interrupted; finished.json
    is not declared, so a run that was paid for survives as long as its log does.
    """
    path = out / "finished.json"
    if not path.is_file() or not (out / "log.jsonl").is_file():
        return None
    with contextlib.suppress(SpeedrunError):  # of another schema version
        finished = schema.load(RunExit, path)
        return finished if finished.key == key else None
    return None


def _clear(out: Path) -> None:
    """Remove what an unfinished run, or one of other inputs, left behind."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("finished.json", "exit.json", "log.jsonl", PROBE_ANSWER):
        (out / name).unlink(missing_ok=True)


def _execute(job: _Job, out: Path) -> RunExit:
    trainers = {"real": _run_really, "simulated": _simulate}
    if job.spec.trainer not in trainers:
        raise SpeedrunError(f"trainer {job.spec.trainer!r} is unknown: choose real or simulated")
    if job.not_run:
        files.write_text(out / "log.jsonl", "")
        seen = RunExit(ran=False, reason=f"not_run: {job.not_run}")
    else:
        seen = trainers[job.spec.trainer](job, out)
    return dataclasses.replace(
        seen,
        seed=job.seed,
        solution_digest=job.digest,
        device=job.spec.device,
        sandbox=job.spec.sandbox,
        trainer=job.spec.trainer,
    )


def _run_really(job: _Job, out: Path) -> RunExit:
    fresh = workplace.fresh(job.solution, job.digest, job.inputs)
    with gpu.reserved(job.spec) as gpus, fresh as place:
        seen = process.run(_command(job, place), job.spec, out / "log.jsonl")
        changed = workplace.changed(job.solution, place.work)
        answer = workplace.read_plain(place.work / PROBE_ANSWER, PROBE_ANSWER_BYTES)
        if answer is not None:
            files.write_bytes(out / PROBE_ANSWER, answer)
    torch = sandbox.interpreter(job.spec.python).version_of("torch")
    return dataclasses.replace(seen, host=platform.node(), torch=torch, gpus=gpus, changed=changed)


def _simulate(job: _Job, out: Path) -> RunExit:
    return simulated.run(job.digest, job.seed, job.spec, out / "log.jsonl")


def _command(job: _Job, place: Place) -> Command:
    """Return the entry's command, contained as the hardware profile says."""
    python, spec = sandbox.interpreter(job.spec.python), job.spec
    words = launch.call(python, spec, job.entry, job.arguments)
    if spec.launch == "torchrun":  # records 15 to 17 write there without making it
        with contextlib.suppress(FileExistsError):  # a candidate's file may have the name
            (place.work / logfile.FOLDER).mkdir()
    command = contain.command(words, python, place, spec, job.seed)
    core = None if gpu.used(spec) else job.cpu  # one core for all compile workers: hours
    return dataclasses.replace(command, cpu=core)
