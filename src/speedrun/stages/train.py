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
import random
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speedrun import files, schema, versions
from speedrun.files import SpeedrunError
from speedrun.runner import disk, process, sandbox
from speedrun.runner.log import encode
from speedrun.runner.start import Command
from speedrun.schema import RunExit, TrainSpec

MAGIC = 20240520
HEADER_BYTES = 1024  # 256 int32: magic, version, number of tokens
DATA = "data"  # the folder in the work folder that shows the inputs
PROBE_ANSWER = "probe_logits.npy"
PROBE_ANSWER_BYTES = 64 * 2**20
SIMULATED_STEPS = 5


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
    why = not_run or _nothing_to_run(solution, entry)
    inputs = {} if why else _inputs(data, probes)
    digest = files.digest_tree(solution) if solution.is_dir() else ""
    job = _Job(solution, digest, entry, inputs, spec, seed, why, cpu)
    key = _key(job, _known_digests(data))
    finished = _finished(out, key)
    if finished is None:
        _clear(out)
        finished = dataclasses.replace(_execute(job, out), key=key)
        schema.save(out / "finished.json", finished)
    schema.save(out / "exit.json", finished)
    return finished


def _nothing_to_run(solution: Path, entry: str) -> str:
    """Return why the folder cannot be run, "" if it can."""
    if os.path.lexists(solution / DATA):
        return f"solution holds {DATA}/, which the harness provides"
    missing = not (solution / entry).is_file()
    return f"solution has no {entry}" if missing else ""


def _inputs(data: Path, probes: Path | None) -> dict[str, Path]:
    """Return the files that the script finds under data/, each shard checked."""
    shards = {path.name: path for path in sorted(data.glob("*.bin"))}
    if not shards:
        raise SpeedrunError(f"{data} holds no shard: make it with `snakemake --forcerun tokenize`")
    for path in shards.values():
        check_shard(path)
    if probes is None:
        return shards
    if not probes.is_file():
        raise SpeedrunError(f"{probes} is missing: make it with `snakemake --forcerun tokenize`")
    return {**shards, "probes.npy": probes}


def check_shard(path: Path) -> None:
    """Raise SpeedrunError unless ``path`` is a whole shard in the speedrun's .bin format."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    magic, _, tokens = struct.unpack_from("<3i", header.ljust(12, b"\0"))
    expected, size = HEADER_BYTES + 2 * tokens, path.stat().st_size
    fault = ""
    if magic != MAGIC or len(header) < HEADER_BYTES:
        fault = f"is no shard (magic number {magic}, not {MAGIC})"
    elif expected != size:
        fault = f"is damaged ({tokens} tokens take {expected} bytes, it has {size})"
    if fault:
        raise SpeedrunError(f"{path} {fault}: make it with `rm {path} && snakemake`")


def _key(job: _Job, known: dict[str, str]) -> str:
    """Return the digest of what decides the run; the core it is pinned to does not."""
    inputs = {name: known.get(name) or files.digest_file(path) for name, path in job.inputs.items()}
    parts = {
        "version": versions.TRAIN,
        "interpreter": _interpreter_versions(job.spec),
        "solution": job.digest,
        "entry": job.entry,
        "inputs": inputs,
        "spec": schema.to_dict(job.spec),
        "seed": job.seed,
        "not_run": job.not_run,
    }
    return files.digest_value(parts)


def _interpreter_versions(spec: TrainSpec) -> dict[str, str]:
    """Return what a clock depends on besides the spec, so that an upgrade does not reuse it.

    A simulated run is made by nobody's interpreter and is the same everywhere.
    """
    if spec.trainer == "simulated":
        return {}
    python = sandbox.interpreter(spec.python)
    return {"python": python.version, "torch": python.version_of("torch")}


def _known_digests(data: Path) -> dict[str, str]:
    """Return the digests that tokenize wrote beside the shards, so that none is hashed twice."""
    meta = data.parent / "meta.json"
    found = files.read_json(meta).get("sha256", {}) if meta.is_file() else {}
    return {str(name): str(digest) for name, digest in found.items()}


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
    with _work_folder(job, out) as work:
        seen = process.run(_command(job, work), job.spec, out / "log.jsonl")
        _keep_answer(work / PROBE_ANSWER, out / PROBE_ANSWER)
    return dataclasses.replace(seen, host=platform.node())


@contextlib.contextmanager
def _work_folder(job: _Job, out: Path) -> Iterator[Path]:
    """Yield a fresh private copy; what a killed run of the same ``out`` left goes first."""
    prefix = f"speedrun-{files.digest_text(str(out.resolve()))[:16]}-"
    for stale in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        disk.remove(stale)
    work = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        for path in files.tree_files(job.solution):
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(job.solution / path, work / path)
        if files.digest_tree(work) != job.digest:
            raise SpeedrunError(f"{job.solution} changed while it was copied: run again")
        yield work
    finally:
        disk.remove(work)


def _command(job: _Job, work: Path) -> Command:
    """Return the entry's command: inside bubblewrap, or bare where that was asked for."""
    python = sandbox.interpreter(job.spec.python)
    call = [str(python.executable), job.entry]
    if job.spec.sandbox == "bubblewrap":
        mounts = sandbox.Mounts(work, job.inputs, job.spec.hidden)
        words = [*sandbox.wrap(sandbox.find_bwrap(), python, mounts, job.spec), "--", *call]
        home = sandbox.work_folder(python)
    elif job.spec.sandbox == "none":
        _link_inputs(work / DATA, job.inputs)
        words, home = call, str(work)
    else:
        raise SpeedrunError(f"sandbox {job.spec.sandbox!r} is unknown: choose bubblewrap or none")
    variables = sandbox.environment(python, home, job.spec, job.seed)
    return Command(words, work, variables, job.spec.sandbox == "bubblewrap", job.cpu)


def _link_inputs(folder: Path, inputs: dict[str, Path]) -> None:
    """Show the data as links; without a sandbox nothing keeps the script from writing to it."""
    folder.mkdir()
    for name, path in inputs.items():
        (folder / name).symlink_to(path.resolve())


def _keep_answer(source: Path, target: Path) -> None:
    """Keep the probe logits if they are a regular file of bearable size.

    The script is dead but not to be trusted: a link could point at any file of ours.
    """
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # none, or a link
        return
    try:
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_size <= PROBE_ANSWER_BYTES:
            files.write_bytes(target, os.read(handle, PROBE_ANSWER_BYTES))
    finally:
        os.close(handle)


def _simulate(job: _Job, out: Path) -> RunExit:
    """Stand in for a run: a log that depends on nothing but the solution and the seed.

    A solution has a time of 5 to 20 s and reaches the target with probability 0.8; the seed
    moves both a little.
    """
    try:
        target_loss = float(job.spec.environment["SIMULATED_TARGET"])
    except (KeyError, ValueError) as error:
        raise SpeedrunError(
            "the simulated trainer needs a number: set train.environment.SIMULATED_TARGET"
        ) from error
    nature, noise = random.Random(job.digest), random.Random(f"{job.digest} {job.seed}")
    total_s = 5 + 15 * nature.random() + 0.1 * noise.random()
    gap = nature.uniform(0.005, 0.05) * (1 if nature.random() < 0.8 else -1)
    loss = target_loss - gap + noise.uniform(-0.002, 0.002)
    files.write_bytes(out / "log.jsonl", b"".join(_simulated_lines(loss, total_s)))
    return RunExit(
        ran=True,
        reason="exited",
        exit_code=0,
        wall_s=round(total_s, 3),
        cpu_s=round(total_s, 3),
        cpu_total_s=round(total_s, 3),
    )


def _simulated_lines(loss: float, total_s: float) -> Iterator[bytes]:
    for index in range(1, SIMULATED_STEPS + 1):
        step, at_s = 100 * index, round(total_s * index / SIMULATED_STEPS, 3)
        now = loss + 0.4 * (SIMULATED_STEPS - index)
        line = (
            f"step:{step}/{100 * SIMULATED_STEPS} val_loss:{now:.4f} "
            f"train_time:{at_s * 1000:.0f}ms step_avg:{at_s * 1000 / step:.2f}ms"
        )
        yield encode({"wall_s": at_s, "cpu_s": at_s, "line": line})
