"""Files in, files out: atomic writes, digests and JSON, on the standard library alone.

Every stage reads and writes through this module, so that a killed job leaves either the
old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class SpeedrunError(Exception):
    """A failure of the harness or of its input; the message names the cause and the next command.

    A candidate's failure is never raised: it is an ``outcome`` in analysis.json.
    """


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a disk that fills while ``path`` is written into one line; delete what was written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path.unlink(missing_ok=True)
        raise SpeedrunError(
            f"the disk of {path.parent} is full: free some space and run the same command again"
        ) from error


def require_space(folder: Path, size: int, what: str) -> None:
    """Raise SpeedrunError unless the disk of ``folder`` has ``size`` bytes left for ``what``."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise SpeedrunError(
            f"{what}: {size / 1e9:.2f} GB are needed in {folder}, {free / 1e9:.2f} GB are free: "
            "free some space and run the same command again"
        )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as sorted, indented JSON, atomically; equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_text_if_changed(path: Path, text: str) -> bool:
    """Write only when the content differs, so that an unchanged file keeps its mtime."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one is an error that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpeedrunError(f"{path} is missing: run `snakemake` to make it") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpeedrunError(
            f"{path} is not valid JSON ({error}): delete it and run again"
        ) from error


def canonical_json(value: Any) -> str:
    """Return the one-line JSON used for digests and command lines: sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_text(text: str) -> str:
    """Return the SHA-256 of ``text`` as hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_value(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of key order."""
    return digest_text(canonical_json(value))


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_files(folder: Path) -> list[Path]:
    """Return the regular files under ``folder``, relative and sorted: no links, no pipes."""
    found = (
        Path(base, name).relative_to(folder) for base, _, names in os.walk(folder) for name in names
    )
    return sorted(path for path in found if stat.S_ISREG((folder / path).lstat().st_mode))


def digest_tree(folder: Path) -> str:
    """Return one SHA-256 over the relative names and bytes of all files under ``folder``."""
    return digest_value({str(path): digest_file(folder / path) for path in tree_files(folder)})


def read_tree(folder: Path) -> dict[str, str]:
    """Return ``{relative path: text}`` of a folder of source files (UTF-8)."""
    return {str(path): (folder / path).read_text(encoding="utf-8") for path in tree_files(folder)}


def write_tree(folder: Path, files: Mapping[str, str]) -> None:
    """Replace ``folder`` by ``files``; built aside and renamed, so that it is never half there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, text in files.items():
            write_text(_inside(temporary, name), text)
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _inside(folder: Path, name: str) -> Path:
    """Return ``folder/name``, refusing names that would leave the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or path == folder.resolve():
        raise SpeedrunError(f"file name {name!r} lies outside its folder")
    return path
