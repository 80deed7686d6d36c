"""The documents of the user's files, one after another: parquet, JSON lines and plain text.

Every error names the file and the place in it. Memory holds one batch of rows, one line or one
document at a time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speedrun.files import SpeedrunError

MAX_DOCUMENT_BYTES = 256 * 2**20
CHUNK_BYTES = 2**20
ROWS = 64  # of a parquet file at a time: they may be megabytes each


@dataclass(frozen=True)
class Format:
    """How text is found in the files."""

    column: str  # of a parquet file, or the key of a JSON line
    separator: str  # between the documents of a .txt file; "" makes the file one document
    invalid_utf8: str  # "error", or "replace" by U+FFFD


class Document(NamedTuple):
    """A document and where it stands."""

    text: str
    path: Path
    number: int  # row, line or document in the file, from 1


def read(path: Path, form: Format) -> Iterator[Document | None]:
    """Yield the documents of one file in their order, None for a row that has no text.

    Errors: SpeedrunError for a file that cannot be read, a line that is no JSON object with the
    text column, bytes that are no UTF-8 (unless replaced), a document that is too large.
    """
    import pyarrow as pa

    readers = {".parquet": _parquet, ".txt": _plain}
    texts = readers.get(path.suffix, _json_lines)(path, form)
    try:
        for number, text in enumerate(texts, start=1):
            yield None if text is None else Document(text, path, number)
    except (pa.ArrowException, OSError) as error:
        raise SpeedrunError(
            f"tokenize: {path} cannot be read ({str(error).splitlines()[0]}): make it again or "
            "leave it out of corpus.paths"
        ) from error


def _parquet(path: Path, form: Format) -> Iterator[str | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Arrow's own allocator clears huge pages first: 0.3 CPU s and more memory, for nothing here.
    pa.set_memory_pool(pa.system_memory_pool())
    # Arrow's threads and read-ahead cost twice the CPU and memory, and the encoder has the cores.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        first = 1
        for rows in file.iter_batches(ROWS, columns=[form.column], use_threads=False):
            yield from _texts(rows.column(0), path, first, form)
            first += len(rows)


def _texts(column: Any, path: Path, first: int, form: Format) -> list[str | None]:
    """Return a batch's texts; Arrow does not check that a file's strings are UTF-8."""
    import pyarrow as pa

    try:
        texts: list[str | None] = column.to_pylist()
    except UnicodeDecodeError:
        contents = column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
        return [
            None if content is None else _decode(content, f"{path}, row {row},", 0, form)
            for row, content in enumerate(contents, first)
        ]
    return texts


def _json_lines(path: Path, form: Format) -> Iterator[str | None]:
    offset = 0
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                text = _decode(line, str(path), offset, form)
                yield _text_of(text, path, number, form.column)
            offset += len(line)


def _open(path: Path) -> io.BufferedReader:
    """Open a file, unpacked when its name says that it is packed."""
    import pyarrow as pa

    if path.suffix == ".jsonl":
        return path.open("rb")
    stream: Any = pa.input_stream(str(path), compression="detect")
    return io.BufferedReader(stream, CHUNK_BYTES)


def _text_of(line: str, path: Path, number: int, column: str) -> str | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # no JSON, a number too long, nested too deeply
        raise SpeedrunError(
            f"tokenize: {path}, line {number} is no JSON that can be read ({error}): "
            "correct or delete that line"
        ) from error
    if not isinstance(value, dict) or column not in value:
        raise SpeedrunError(
            f"tokenize: {path}, line {number} has no key {column!r}: set corpus.column"
        )
    text = value[column]
    if text is not None and not isinstance(text, str):
        raise SpeedrunError(
            f"tokenize: {path}, line {number}: {column!r} is {type(text).__name__}, not text"
        )
    # JSON can name half of a surrogate pair, which UTF-8 cannot hold.
    return _well_formed(text) if text and "\\u" in line else text


def _well_formed(text: str) -> str:
    """Return text with U+FFFD for each half of a surrogate pair, as tiktoken makes it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(path: Path, form: Format) -> Iterator[str]:
    separator, offset = form.separator.encode(), 0
    for piece in _pieces(path, separator):
        yield _decode(piece, str(path), offset, form)
        offset += len(piece) + len(separator)


def _pieces(path: Path, separator: bytes) -> Iterator[bytes]:
    """Yield the bytes between separators; what follows the last one counts when it is not empty."""
    kept = bytearray()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            searched = max(0, len(kept) - len(separator))
            kept += chunk
            if separator and separator in kept[searched:]:
                *whole, rest = bytes(kept).split(separator)
                yield from whole
                kept = bytearray(rest)
            _check_size(len(kept), path)
    if kept or not separator:
        yield bytes(kept)


def _check_size(size: int, path: Path) -> None:
    if size > MAX_DOCUMENT_BYTES:
        raise SpeedrunError(
            f"tokenize: a document of {path} is larger than {MAX_DOCUMENT_BYTES // 2**20} MiB: "
            "set corpus.separator, or split the file"
        )


def _decode(content: bytes, place: str, offset: int, form: Format) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if form.invalid_utf8 == "replace":
            return content.decode("utf-8", "replace")
        raise SpeedrunError(
            f"tokenize: {place} is no UTF-8 at byte {offset + error.start}: convert it, or set "
            "corpus.invalid_utf8=replace"
        ) from error
