"""A corpus of the user's own files: found, checked and digested here, read by ``tokenize``.

Parquet, JSON lines (plain, .gz, .zst or .bz2) and plain text. Nothing is copied: the manifest names
the files in the order in which their documents are tokenised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files
from speedrun.files import SpeedrunError

COMPRESSED = (".gz", ".zst", ".bz2")
FORMATS = (".parquet", ".txt", ".jsonl", *(f".jsonl{suffix}" for suffix in COMPRESSED))


@dataclass(frozen=True)
class TextSpec:
    """config/corpus/<corpus>.yaml of kind text, as far as the files are concerned."""

    kind: str
    name: str
    paths: list[str]  # files and folders
    column: str  # where a parquet file's or a JSON line's text is


def text(spec: TextSpec, out: Path) -> dict[str, float]:
    """Write manifest.json into ``out``; return sizes.

    Errors: SpeedrunError naming the file that is missing, empty, of an unknown format, unreadable
    or without the text column.
    """
    found = listed(spec.paths)
    for path in found:
        _check(path, spec.column)
    entries = [
        {"path": str(path), "bytes": path.stat().st_size, "sha256": files.digest_file(path)}
        for path in found
    ]
    manifest = {"corpus": spec.name, "kind": "text", "sources": [], "files": entries}
    files.write_json(out / "manifest.json", manifest)
    size = sum(path.stat().st_size for path in found)
    return {"files": float(len(found)), "bytes": float(size)}


def listed(paths: Iterable[str]) -> list[Path]:
    """Return the files that ``paths`` name, folders searched; in the order given, then by name."""
    found = [file for path in paths for file in _expand(Path(path))]
    if not found:
        raise SpeedrunError(
            "corpus: corpus.paths names no file: set it to files or folders of "
            f"{', '.join(FORMATS)}"
        )
    return list(dict.fromkeys(found))


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        # Not the folders of that name, which some programs write, but what is in them.
        found = (file for file in path.rglob("*") if not file.is_dir())
        return sorted(file for file in found if file.name.endswith(FORMATS))
    if not path.is_file():
        raise SpeedrunError(f"corpus: {path} is missing: correct corpus.paths")
    if not path.name.endswith(FORMATS):
        raise SpeedrunError(
            f"corpus: {path} is of no known format: convert it to one of {', '.join(FORMATS)}"
        )
    return [path]


def _check(path: Path, column: str) -> None:
    if not path.exists():
        raise SpeedrunError(f"corpus: {path} is a link to nothing: correct it or delete it")
    if path.stat().st_size == 0:
        raise SpeedrunError(f"corpus: {path} is empty: leave it out of corpus.paths")
    if path.suffix == ".parquet":
        _check_column(path, column)


def _check_column(path: Path, column: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema: Any = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise SpeedrunError(
            f"corpus: {path} is no readable parquet file ({str(error).splitlines()[0]}): make it "
            "again or leave it out of corpus.paths"
        ) from error
    if column not in schema.names:
        raise SpeedrunError(
            f"corpus: {path} has no column {column!r} but {', '.join(schema.names)}: "
            "set corpus.column"
        )
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SpeedrunError(f"corpus: column {column!r} of {path} is {kind}, not text")
