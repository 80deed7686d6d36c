"""Data views: a corpus's shards with another validation shard, for the noise and hold-out runs.

A view looks like results/shards/<corpus>: public/ with the training shards (links) and, under its
usual name, the replaced validation shard; meta.json with the digests. It is made once per data,
aside and renamed, so that it is never half there.

- noise: every validation token but end-of-text is replaced by a uniformly random one of the other
  V - 1. End-of-text stays, because scripts cut documents and masks there.
- holdout: the corpus's private hold-out shard, cut to the validation shard's length where it is
  longer, so that a script finds as many tokens as it is used to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.runner import shards

NOISE, HOLDOUT = "noise", "holdout"
KINDS = (NOISE, HOLDOUT)
VERSION = 1  # raised when a view's bytes change
GPT2_END_OF_TEXT = 50256  # of a meta.json that does not say
CHUNK = 2**24  # tokens written at once
STALE_S = 24 * 3600  # a view is made in minutes

Tokens = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class View:
    """A view on the disk; ``shards`` stands for results/shards/<corpus> in a run."""

    kind: str
    shards: Path
    vocab_size: int
    tokens: int  # on which the track validates
    end_of_text_share: float  # of these


@dataclass(frozen=True)
class _Plan:
    """What a view is made of; ``shown`` are the inputs' paths, the validation shard last."""

    kind: str
    training: list[Path]
    validation: Path
    source: Path  # of the tokens that replace the validation shard's
    meta: dict[str, int]  # vocab_size, end_of_text
    digests: dict[str, str]  # by file name
    digest: str


def make(kind: str, source: Path, spec: schema.TrainSpec, tokens: int, store: Path) -> View:
    """Return the view of ``source`` (results/shards/<corpus>), made below ``store`` if need be.

    ``tokens`` is on how many the track validates, 0 for the whole shard. Errors: SpeedrunError for
    shards that are missing, or a hold-out shard that is too short.
    """
    plan = _plan(kind, source, spec)
    folder = store / plan.digest[:16]
    _check_length(plan, tokens)
    if not (folder / "meta.json").is_file():
        _make(plan, folder)
    made = _map(folder / "public" / plan.validation.name)
    counted = min(tokens or len(made), len(made))
    share = np.count_nonzero(made[: counted + 1] == plan.meta["end_of_text"]) / counted
    return View(kind, folder, plan.meta["vocab_size"], counted, float(share))


def _plan(kind: str, source: Path, spec: schema.TrainSpec) -> _Plan:
    shown = shards.inputs(source / "public", spec, None)
    by_name = {path.name: path for path in shown.values()}
    training = [path for path in by_name.values() if shards.TRAINING in path.name]
    validation = _only([path for path in by_name.values() if path not in training], source)
    replaced = validation if kind == NOISE else _holdout(source)
    digests = {
        path.name: next(iter(shards.digests({"": path}).values()))
        for path in (*training, validation, replaced)
    }
    known = files.read_json(source / "meta.json")
    end_of_text = int(known.get("end_of_text", GPT2_END_OF_TEXT))
    meta = {"vocab_size": int(known["vocab_size"]), "end_of_text": end_of_text}
    digest = files.digest_value([VERSION, kind, meta, digests])
    return _Plan(kind, training, validation, replaced, meta, digests, digest)


def _only(found: list[Path], source: Path) -> Path:
    if len(found) != 1:
        raise SpeedrunError(
            f"{source}/public holds {len(found)} validation shards, the audit's noise and hold-out "
            "runs need one: set audit.noise_runs=0 audit.holdout_runs=0"
        )
    return found[0]


def _holdout(source: Path) -> Path:
    found = sorted((source / "private").glob("*holdout*.bin"))
    if not found:
        raise SpeedrunError(
            f"{source}/private has no hold-out shard: make it with `snakemake --forcerun tokenize`,"
            " or set audit.holdout_runs=0"
        )
    shards.check(found[0])
    return found[0]


def _check_length(plan: _Plan, tokens: int) -> None:
    needed = tokens or len(_map(plan.validation))
    if len(_map(plan.source)) < needed:
        raise SpeedrunError(
            f"{plan.source} has {len(_map(plan.source)):,} tokens, the track validates on "
            f"{needed:,}: raise corpus.holdout_share, or set audit.holdout_runs=0"
        )


def _map(path: Path) -> Tokens:
    """Return a shard's tokens as a view of the file; shards.inputs has checked its size."""
    return np.memmap(path, dtype="<u2", mode="r", offset=shards.HEADER_BYTES)


def _make(plan: _Plan, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    size = plan.validation.stat().st_size
    files.require_space(folder.parent, size, f"the {plan.kind} view of the data")
    _sweep_up(folder)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with files.disk_errors(aside / "meta.json"):
            _fill(plan, aside)
        aside.chmod(0o755)
        _put(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep_up(folder: Path) -> None:
    """Remove what a making of this view left that was killed: as large as a validation shard."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        with contextlib.suppress(FileNotFoundError):  # that of another audit, which has ended
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left, ignore_errors=True)


def _put(aside: Path, folder: Path) -> None:
    """Rename a whole view to its place, unless another audit was quicker: its runs are under way.

    Only what is not whole is removed; a rename onto a folder that is not empty fails.
    """
    if folder.is_dir() and not (folder / "meta.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
    try:
        aside.rename(folder)
    except OSError:
        if not (folder / "meta.json").is_file():
            raise


def _fill(plan: _Plan, folder: Path) -> None:
    public = folder / "public"
    public.mkdir()
    for path in plan.training:
        _link(path, public / path.name)
    made = public / plan.validation.name
    _write(plan, made)
    digests = {path.name: plan.digests[path.name] for path in plan.training}
    digests[made.name] = files.digest_file(made)
    files.write_json(folder / "meta.json", {"view": plan.kind, **plan.meta, "sha256": digests})


def _link(source: Path, target: Path) -> None:
    """Hard-link a shard; a symbolic link where the store is on another disk."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        target.symlink_to(source.resolve())


def _write(plan: _Plan, path: Path) -> None:
    tokens = _map(plan.source)[: len(_map(plan.validation))]
    with path.open("wb") as file:
        file.write(struct.pack("<256i", shards.MAGIC, 1, len(tokens), *[0] * 253))
        generator = np.random.default_rng(int(plan.digest[:16], 16))
        for start in range(0, len(tokens), CHUNK):
            piece = tokens[start : start + CHUNK]
            replaced = piece if plan.kind == HOLDOUT else _noise(piece, plan.meta, generator)
            file.write(replaced.astype("<u2").tobytes())


def _noise(tokens: Tokens, meta: dict[str, int], generator: np.random.Generator) -> Tokens:
    """Return uniformly random tokens in the place of all but end-of-text, which is never drawn."""
    kept = meta["end_of_text"]
    drawn = generator.integers(0, meta["vocab_size"] - 1, len(tokens), dtype=np.uint16)
    drawn += (drawn >= kept).astype(np.uint16)
    return np.where(tokens == kept, tokens, drawn)
