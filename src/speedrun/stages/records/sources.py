"""What the stage needs of somebody else's repository; adapters/upstream_git.py provides it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol


class Repository(Protocol):
    """Commits, their trees and their files. Paths are relative to the root, with slashes."""

    def has_commit(self, commit: str) -> bool:
        """Return whether the commit is there."""

    def tree(self, commit: str, folder: str) -> list[str]:
        """Return the paths of all files below ``folder``, sorted."""

    def read(self, commit: str, path: str) -> bytes:
        """Return one file; SpeedrunError where it cannot be read."""

    def read_many(self, commit: str, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield many files in the order asked for; SpeedrunError where one cannot be read."""

    def unreadable(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """Return the paths that cannot be read, each with the reason and what to do."""

    def prefetch(self, wanted: Mapping[str, Iterable[str]]) -> int:
        """Fetch ``{commit: paths}`` in bulk where contents come when asked for; return how many."""
