"""The user's own text to shards of GPT-2 tokens, in one pass and in flat memory.

A document's split is drawn from the hash of its beginning, so that it depends on nothing else and
equal documents never stand on both sides. (Upstream takes its first shard for validation, which for
files in some order would be a validation of that order.) Within a split the files' order stays:
the speedrun reads its training shards in sequence, so shuffle beforehand what needs it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.stages.tokenize import documents, gpt2, spot_check
from speedrun.stages.tokenize.documents import Document, Format
from speedrun.stages.tokenize.downloaded import local_path, write_all_probes
from speedrun.stages.tokenize.shards import Series

BATCH_CHARACTERS = 2 * 2**20  # small enough for the caches, and every core has work
HASHED_CHARACTERS = 4096
CHECKED = 1  # documents of each split in a batch that tiktoken encodes again
SPLIT_BUCKETS = 1_000_000
LARGEST_SHARD = 2**31 - 1  # tokens: the header's words are int32


@dataclass(frozen=True)
class TextSpec:
    """How the user's text is split and cut; counts are in tokens, shares are of documents."""

    kind: str
    column: str
    separator: str
    invalid_utf8: str
    val_share: float
    holdout_share: float
    val_tokens: int
    shard_tokens: int
    seed: int
    probe_sets: int
    probe_contexts: int
    probe_length: int


@dataclass
class _Counts:
    """What the pass has seen."""

    documents: int = 0
    without_text: int = 0
    checked: int = 0


def text(manifest: Path, spec: TextSpec, out: Path) -> dict[str, float]:
    """Write the shards of the manifest's files, probes and meta.json; return sizes.

    Errors: SpeedrunError in one line for unreadable input, too few validation tokens, a full disk,
    or tokens that are not tiktoken's. Nothing half-written is left.
    """
    _check_sizes(spec)
    paths = _unchanged(files.read_json(manifest)["files"])
    _clear(out)
    counts = _Counts()
    with _whole_or_nothing(out):
        with contextlib.ExitStack() as stack:
            series = {name: stack.enter_context(made) for name, made in _series(out, spec).items()}
            _fill(series, _documents(paths, spec, counts), spec, counts)
        _check_filled(series, spec)
        write_all_probes(out, spec)
        files.write_json(out / "meta.json", _meta(series, counts))
    return {f"{split}_tokens": float(made.tokens) for split, made in series.items()}


def split_of(content: str, spec: TextSpec) -> str:
    """Return the split of a document, by the hash of its beginning: equal texts stay together."""
    digest = hashlib.sha256(content[:HASHED_CHARACTERS].encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % SPLIT_BUCKETS
    if bucket < spec.val_share * SPLIT_BUCKETS:
        return "val"
    if bucket < (spec.val_share + spec.holdout_share) * SPLIT_BUCKETS:
        return "holdout"
    return "train"


def _check_sizes(spec: TextSpec) -> None:
    for name in ("shard_tokens", "val_tokens"):
        if not 1 <= getattr(spec, name) <= LARGEST_SHARD:
            raise SpeedrunError(
                f"tokenize: corpus.{name} is {getattr(spec, name)}: set it to 1 to {LARGEST_SHARD}"
            )


def _unchanged(entries: list[dict[str, Any]]) -> list[Path]:
    for entry in entries:
        path = Path(entry["path"])
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            raise SpeedrunError(
                f"tokenize: {path} has changed since the corpus was read: "
                "run `snakemake --forcerun corpus`"
            )
    return [Path(entry["path"]) for entry in entries]


@contextlib.contextmanager
def _whole_or_nothing(out: Path) -> Iterator[None]:
    """Delete every shard after an error: a series without its end would look like a whole one."""
    try:
        with files.disk_errors(out / "meta.json"):
            yield
    except BaseException:
        _clear(out)
        raise


def _clear(out: Path) -> None:
    """Delete the shards of an earlier or a killed run: there may be fewer this time."""
    for path in (*out.glob("*/fineweb_*.bin"), *out.glob("*/.fineweb_*.part")):
        path.unlink()
    (out / "meta.json").unlink(missing_ok=True)


def _series(out: Path, spec: TextSpec) -> dict[str, Series]:
    """Return the open ends of the three splits; validation and hold-out are one shard each."""

    def one(split: str, limit: int) -> Series:
        return Series(lambda index: local_path(out, split, index), limit, limit)

    train = Series(lambda index: local_path(out, "train", index + 1), spec.shard_tokens)
    return {
        "val": one("val", spec.val_tokens),
        "holdout": one("holdout", spec.shard_tokens),
        "train": train,
    }


def _documents(paths: list[Path], spec: TextSpec, counts: _Counts) -> Iterator[Document]:
    form = Format(spec.column, spec.separator, spec.invalid_utf8)
    for path in paths:
        for document in documents.read(path, form):
            if document is None:
                counts.without_text += 1
            else:
                counts.documents += 1
                yield document


def _fill(
    series: dict[str, Series], found: Iterator[Document], spec: TextSpec, counts: _Counts
) -> None:
    encoder = gpt2.Encoder()
    for number, batch in enumerate(_batches(found)):
        groups: dict[str, list[Document]] = {split: [] for split in series}
        for document in batch:
            groups[split_of(document.text, spec)].append(document)
        for place, (split, group) in enumerate(groups.items()):
            if group:
                tokens, starts = encoder.encode([document.text for document in group])
                generator = np.random.default_rng([spec.seed, number, place])
                counts.checked += _check(group, tokens, starts, generator)
                series[split].write(tokens)


def _batches(found: Iterator[Document]) -> Iterator[list[Document]]:
    """Gather documents up to a size that keeps memory small and every core busy."""
    batch: list[Document] = []
    size = 0
    for document in found:
        batch.append(document)
        size += len(document.text) + 64  # so that empty documents end a batch too
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _check(group: list[Document], tokens: Any, starts: Any, generator: np.random.Generator) -> int:
    """Encode a few documents again with tiktoken; return how many. A difference is an error."""
    chosen = generator.choice(len(group), min(CHECKED, len(group)), replace=False)
    for index in chosen:
        document = group[index]
        ours = tokens[starts[index] : starts[index + 1]]
        if not spot_check.agrees(document.text, ours, generator):
            raise SpeedrunError(
                f"tokenize: document {document.number} of {document.path} is encoded otherwise by "
                "tiktoken: nothing was written; report it, with that document"
            )
    return len(chosen)


def _check_filled(series: dict[str, Series], spec: TextSpec) -> None:
    if not any(made.tokens for made in series.values()):
        raise SpeedrunError("tokenize: the files hold no document: correct corpus.paths")
    if series["val"].tokens < spec.val_tokens:
        raise SpeedrunError(
            f"tokenize: the validation split has {series['val'].tokens} tokens, {spec.val_tokens} "
            "are asked for: raise corpus.val_share or lower corpus.val_tokens"
        )
    if not series["train"].tokens or not series["holdout"].tokens:
        raise SpeedrunError(
            "tokenize: the training or the hold-out split is empty: correct corpus.val_share and "
            "corpus.holdout_share, or add text"
        )


def _meta(series: dict[str, Series], counts: _Counts) -> dict[str, Any]:
    paths = [path for made in series.values() for path in made.paths]
    return {
        "kind": "text",
        "vocab_size": gpt2.VOCAB_SIZE,
        "end_of_text": gpt2.END_OF_TEXT,
        "sha256": {path.name: files.digest_file(path) for path in paths},
        "documents": counts.documents,
        "documents_without_text": counts.without_text,
        "documents_checked": counts.checked,
        "train_shards": len(series["train"].paths),
        **{f"{split}_tokens": made.tokens for split, made in series.items()},
    }
