"""A mirror of the generated upstream repository, opened as the adapter opens it."""

from __future__ import annotations

from pathlib import Path

from speedrun.adapters import upstream_git
from upstream_repo import Built


def opened(built: Built, where: str, folder: Path) -> upstream_git.GitRepository:
    """Read the repository at ``where``, through a mirror below ``folder`` if it is an address."""
    return upstream_git.open_repository(where, folder / "mirror.git", [built.commit])


def url(built: Built) -> str:
    """Return the repository's address, so that it is fetched and not read in place."""
    return built.repository.as_uri()


def packs(mirror: Path) -> list[str]:
    """Return the names of the mirror's packs: what has been fetched."""
    return sorted(path.name for path in (mirror / "objects" / "pack").iterdir())
