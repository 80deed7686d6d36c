"""Downloaded shards: checked once more, and shown under results/ without copying them."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.stages.tokenize import gpt2
from speedrun.stages.tokenize.probes import write_probes
from speedrun.stages.tokenize.shards import check_shard, map_shard

SPLITS = ("train", "val", "holdout")


class Probed(Protocol):
    """What a specification says of probes."""

    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def probe_sets(self) -> int: ...  # noqa: D102
    @property
    def probe_contexts(self) -> int: ...  # noqa: D102
    @property
    def probe_length(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class HubSpec:
    """Nothing is tokenised: how many training shards are shown, and the probes."""

    kind: str
    train_shards: int
    seed: int
    probe_sets: int
    probe_contexts: int
    probe_length: int


def hub(manifest: Path, spec: HubSpec, out: Path) -> dict[str, float]:
    """Link the manifest's shards into ``out``, write probes and meta.json; return sizes.

    Errors: SpeedrunError naming a shard that is missing, damaged or not the one of the manifest.
    """
    entries = files.read_json(manifest)["shards"]
    counts = dict.fromkeys(SPLITS, 0)
    for entry in entries:
        counts[_split(entry["name"])] += _checked(entry)
    _clear(out)
    for entry in entries:
        target = out / _folder(_split(entry["name"])) / entry["name"]
        with files.disk_errors(target):
            _show(Path(entry["path"]), target)
    with files.disk_errors(out / "meta.json"):
        write_all_probes(out, spec)
        files.write_json(out / "meta.json", _meta(entries, counts))
    return {f"{split}_tokens": float(count) for split, count in counts.items()}


def local_path(out: Path, split: str, index: int) -> Path:
    """Return where a shard of GPT-2 tokens lies; only the hold-out one is private."""
    return out / _folder(split) / f"fineweb_{split}_{index:06d}.bin"


def write_all_probes(out: Path, spec: Probed) -> None:
    """Write the probe sets that the track asks for, from the hold-out shard."""
    if not spec.probe_sets:
        return
    holdout = map_shard(local_path(out, "holdout", 0))
    folder = out / "private" / "probes"
    for index in range(spec.probe_sets):
        write_probes(holdout, spec.probe_contexts, spec.probe_length, spec.seed, index, folder)


def _clear(out: Path) -> None:
    """Take away links of an earlier run: there may be fewer this time. The store keeps the data."""
    for path in out.glob("*/fineweb_*.bin"):
        path.unlink()
    (out / "meta.json").unlink(missing_ok=True)


def _checked(entry: dict[str, Any]) -> int:
    """Return the token count of a shard in the store, whose bytes are those of the manifest."""
    path = Path(entry["path"])
    if not path.is_file():
        raise SpeedrunError(
            f"tokenize: {path} is missing from the store: run `snakemake --forcerun corpus`"
        )
    count = check_shard(path)
    if files.digest_file(path) != entry["sha256"]:
        raise SpeedrunError(
            f"tokenize: {path} is damaged (another SHA-256 than the manifest's): delete it and run "
            "`snakemake --forcerun corpus`"
        )
    return count


def _show(source: Path, target: Path) -> None:
    """Hard-link a shard, or copy it where the store is on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        files.require_space(target.parent, source.stat().st_size, "tokenize")
        with files.atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _split(name: str) -> str:
    return name.split("_")[1]


def _folder(split: str) -> str:
    return "private" if split == "holdout" else "public"


def _meta(entries: list[dict[str, Any]], counts: dict[str, int]) -> dict[str, Any]:
    return {
        "kind": "hub",
        "vocab_size": gpt2.VOCAB_SIZE,
        "end_of_text": gpt2.END_OF_TEXT,
        "sha256": {entry["name"]: entry["sha256"] for entry in entries},
        "train_shards": sum(_split(entry["name"]) == "train" for entry in entries),
        **{f"{split}_tokens": count for split, count in counts.items()},
    }
