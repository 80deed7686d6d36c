"""What attacks may have left behind: changed files, processes that are still alive."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from speedrun import files

from .bench import Place
from .candidate import RECORDS

SELF = os.getpid()


def digests(root: Path, places: Iterable[Place]) -> dict[str, str]:
    """Return the digests of all that no candidate may change, by name."""
    found = {"the records": files.digest_tree(RECORDS)}
    for where in places:
        found[f"{where.track.name}'s shards"] = _tree(where.shards)
        found[f"{where.track.name}'s task"] = _tree(where.task)
        nodes = where.node_root()
        found |= {f"{node.parts[-4]}'s solution": _tree(node) for node in nodes}
    return found


def _tree(folder: Path) -> str:
    """Return one digest of names, links and contents; files.digest_tree refuses some of these."""
    paths = sorted(path for path in folder.rglob("*"))
    parts = [(str(path.relative_to(folder)), _content(path)) for path in paths]
    return files.digest_value(parts)


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    return files.digest_file(path) if path.is_file() else "folder"


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return what differs, what is new beside the records, and processes of ours that live on."""
    changed = [f"{name} changed" for name, value in before.items() if after.get(name) != value]
    owned = [path for path in RECORDS.parent.glob("*owned*")]
    return [*changed, *(f"{path} appeared" for path in owned), *_alive()]


def _alive() -> list[str]:
    """Return the descendants of this process, which adopts all orphans of its runs."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        state, parent = status.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(folder.name)] = int(parent)
    mine, grown = {SELF}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in mine} - mine
        mine, grown = mine | more, bool(more)
    return [f"process {pid} is alive" for pid in sorted(mine - {SELF})]
