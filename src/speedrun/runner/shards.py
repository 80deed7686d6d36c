"""The data that a run is shown under data/: checked, and known by digest without reading it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.schema import TrainSpec

MAGIC = 20240520
HEADER_BYTES = 1024  # 256 int32: magic, version, number of tokens
FOLDER = "data"  # in the work folder: what shows them
TRAINING = "train_"  # in the name of every training shard


def inputs(data: Path, spec: TrainSpec, probes: Path | None) -> dict[str, Path]:
    """Return the files that a script finds under data/, by name there; each shard is checked.

    Of the training shards it is shown the first ``spec.train_shards``, so that a folder to which
    a wider sweep adds more stays the same data to it.
    """
    found = sorted(data.glob("*.bin"))
    training = [path for path in found if TRAINING in path.name]
    wanted = spec.train_shards or max(len(training), 1)
    if not found or len(training) < wanted:
        holds = f"{len(training)} training shards of {wanted}" if found else "no shard"
        raise SpeedrunError(f"{data} holds {holds}: make it with `snakemake --forcerun tokenize`")
    beyond = set(training[wanted:])
    shards = {f"{spec.data_prefix}{path.name}": path for path in found if path not in beyond}
    for path in shards.values():
        check(path)
    if probes is None:
        return shards
    if not probes.is_file():
        raise SpeedrunError(f"{probes} is missing: make it with `snakemake --forcerun tokenize`")
    return {**shards, "probes.npy": probes}


def check(path: Path) -> None:
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


def digests(shown: Mapping[str, Path]) -> dict[str, str]:
    """Return the digest of each input: of a shard, the one that was written when it was made.

    Upstream's shards are 200 MB each, dozens of them: hashing them would cost a run minutes.
    """
    known: dict[Path, dict[str, str]] = {}
    for folder in {path.parent for path in shown.values()}:
        meta = folder.parent / "meta.json"
        known[folder] = files.read_json(meta).get("sha256", {}) if meta.is_file() else {}
    return {
        name: str(known[path.parent].get(path.name) or files.digest_file(path))
        for name, path in shown.items()
    }
