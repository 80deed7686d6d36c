"""A solution of two files, and the block of a reply that edits one."""

from __future__ import annotations

BASE = {"train.py": "a = 1\nb = 2\nc = 3\n\ndef f():\n    return a\n", "model.py": "d = 4\n"}


def edit(search: str, replace: str, path: str = "train.py") -> str:
    """Return a block that changes one place of a file."""
    return f"### EDIT: {path}\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"
