"""What a sandbox hides of what it shows: the corpus's sources, other interpreters' packages.

A folder is hidden under every name by which it is seen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speedrun.runner.sandbox import Interpreter

PACKAGES = ("site-packages", "dist-packages")


def covered(
    python: Interpreter, hidden: Sequence[str], libraries: Sequence[Path] = ()
) -> list[Path]:
    """Return what must not be seen: the given paths, and every package that is not the run's own.

    Another Python's packages could hold the sources that the corpus was made from; so could the
    run's own, which need not be where the hidden paths are. A folder of ``libraries`` may be
    another Python's lib/.
    """
    own = {path.resolve() for path in python.packages}
    around = [*libraries, *(path.parent for path in libraries)]
    folders = [*roots(python), Path("/usr"), Path("/usr/local"), *around]
    found = {
        path.resolve()
        for folder in folders
        for lib in ("lib", "lib64", "local/lib")
        for name in PACKAGES
        for path in folder.glob(f"{lib}/python3*/{name}")
    }
    given = [Path(path) for path in hidden]
    twins = {folder / path.name for folder in own for path in given}
    unseen = (found - own) | {path.resolve() for path in [*given, *twins]}
    visible = [*roots(python), Path("/usr"), *libraries]
    outermost = [path for path in unseen if not unseen & set(path.parents)]
    shown = {name for path in outermost for name in _names(path, visible)}
    return sorted(path for path in shown if within(path, visible))


def _names(path: Path, folders: Sequence[Path]) -> set[Path]:
    """Return every name under which ``path``, free of links, is seen below ``folders``.

    An environment that is itself a link is shown by its own name as well.
    """
    below = [folder for folder in folders if path.is_relative_to(folder.resolve())]
    return {path, *(folder / path.relative_to(folder.resolve()) for folder in below)}


def roots(python: Interpreter) -> list[Path]:
    """Return the interpreter's folders as it names them and, where they differ, as they are."""
    named = [python.base, python.prefix]
    return list(dict.fromkeys([*named, *(path.resolve() for path in named)]))


def within(path: Path, folders: Sequence[Path]) -> bool:
    """Say whether ``path``, as written, lies below one of the folders."""
    return any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in folders)
