"""A folder of source, read as a stranger left it: bounded, and no link is followed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

MOST_FILES = 500
MOST_FOLDERS = 200
FILE_BYTES = 2_000_000  # the largest source of a record is 120 KB
TOTAL_BYTES = 8_000_000
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Folder:
    """What lies in a folder: texts by relative name, and what is no regular text."""

    texts: dict[str, str] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)  # name -> what it is instead
    left: int = TOTAL_BYTES


def read_folder(path: Path) -> Folder:
    """Return the folder's files; a missing folder is an empty one."""
    found = Folder()
    for folders, (base, names, files) in enumerate(os.walk(path, followlinks=False), 1):
        relative = os.path.relpath(base, path)
        links = [name for name in names if os.path.islink(os.path.join(base, name))]
        for name in sorted(files) + sorted(links):
            shown = os.path.normpath(os.path.join(relative, name))
            _read(os.path.join(base, name), _printable(shown), found)
        if folders >= MOST_FOLDERS or len(found.texts) + len(found.odd) >= MOST_FILES:
            found.odd["."] = "more files or folders than are looked at"
            break
        names.sort()
    return found


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8", "replace")


def _read(path: str, shown: str, found: Folder) -> None:
    try:
        content = _content(path, min(FILE_BYTES, found.left))
    except OSError:
        found.odd[shown] = "a link, or a file that cannot be read"
        return
    if isinstance(content, str):
        found.odd[shown] = content
        return
    found.left -= len(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        found.odd[shown] = "not UTF-8 text"
        return
    if "\0" in text:
        found.odd[shown] = "a file with null bytes"
    else:
        found.texts[shown] = text


def _content(path: str, most: int) -> bytes | str:
    """Return a regular file's bytes, or what it is instead."""
    handle = os.open(path, OPEN)
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            return "no regular file"
        if facts.st_size > most:
            return f"larger than is read ({facts.st_size} bytes)"
        return file.read(most + 1)
