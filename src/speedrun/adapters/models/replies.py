"""The reply store: what was received is kept before anything is done with it, and never paid twice.

store/replies/<2 hex>/<key>.json, outside of the workflow's outputs. The file is whole or absent:
it is written aside, synced and renamed, and the rename is synced too.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from speedrun import files


class ReplyStore:
    """Replies by key."""

    def __init__(self, folder: Path) -> None:
        """``folder`` need not exist."""
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return where a reply lies."""
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a stored record, None if there is none."""
        path = self.path(key)
        return dict(files.read_json(path)) if path.is_file() else None

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record; it is on disk when this returns."""
        path = self.path(key)
        with files.disk_errors(path):
            files.write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")
            _sync_folder(path.parent)

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Hold a key, so that of two processes that ask the same, one pays.

        The lock file is deleted while it is held: who waits for it then makes a new one.
        """
        path = self.path(key).with_suffix(".lock")
        lock = filelock.FileLock(path, poll_interval=0.02)
        with files.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            lock.release()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
