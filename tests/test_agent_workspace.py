"""What is read back of an agent's workspace: its files, no litter, nothing that is no solution."""

from __future__ import annotations

import dataclasses
import os
import socket
import stat
from pathlib import Path

import pytest

from speedrun.adapters.coders import workspace

LIMITS = workspace.Limits(["*.pyc", ".git", ".aider*"], max_files=4, max_file_kb=1, max_total_kb=3)


def test_a_workspace_is_read_without_litter_and_without_what_a_run_provides(tmp_path: Path) -> None:
    workspace.write(tmp_path / "w", {"train.py": "x\r\n", "lib/a.py": "ä"})
    for name in (".git/config", "lib/.aider.chat", "lib/b.pyc", "data/train.bin"):
        (tmp_path / "w" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "w" / name).write_bytes(b"\xff\0")
    (tmp_path / "w" / "probe_logits.npy").symlink_to("/etc/passwd")
    (tmp_path / "w" / ".aider.link").symlink_to("/etc/passwd")
    (tmp_path / "w" / "empty").mkdir()
    assert workspace.read(tmp_path / "w", LIMITS) == {"train.py": "x\r\n", "lib/a.py": "ä"}


def test_the_parents_files_are_no_litter(tmp_path: Path) -> None:
    given = {"runs.log": "1", ".git/hook": "2"}
    workspace.write(tmp_path / "w", {**given, "new.log": "3"})
    limits = dataclasses.replace(LIMITS, ignore=["*.log", ".git"])
    assert workspace.read(tmp_path / "w", limits, given) == given
    assert workspace.read(tmp_path / "w", limits) == {}


def _deep(folder: Path) -> None:
    (folder / "/".join("d" * (workspace.DEPTH + 1))).mkdir(parents=True)


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "s"))


BROKEN = {
    "'up' is a symbolic link": lambda w: (w / "up").symlink_to("../.."),
    "'train.py' is a symbolic link": lambda w: (w / "train.py").symlink_to("/etc/passwd"),
    "'d/x' is a symbolic link": lambda w: ((w / "d").mkdir(), (w / "d" / "x").symlink_to("y")),
    "'b' is a hard link": lambda w: (
        (w.parent / "a").write_text(""),
        os.link(w.parent / "a", w / "b"),
    ),
    "'pipe' is not a regular file": lambda w: os.mkfifo(w / "pipe"),
    "'s' is not a regular file": _socket,
    "'a' is not UTF-8 text": lambda w: (w / "a").write_bytes(b"\xff"),
    "'a' holds a NUL character": lambda w: (w / "a").write_bytes(b"a\0"),
    "'a' is larger than 1 KiB": lambda w: (w / "a").write_bytes(bytes(1025)),
    "there are more than 4 files": lambda w: [(w / f"{n}").write_text("") for n in range(5)],
    "the files are larger than 3 KiB": lambda w: [
        (w / f"{n}").write_text("x" * 1000) for n in range(4)
    ],
    "folders are nested more than": _deep,
    "the workspace is gone": lambda w: w.rmdir(),
}


@pytest.mark.parametrize("why", list(BROKEN))
def test_what_is_no_solution_is_named_and_not_followed(tmp_path: Path, why: str) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    BROKEN[why](folder)
    with pytest.raises(workspace.WorkspaceError, match=why):
        workspace.read(folder, LIMITS)


def test_a_sparse_giant_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    with (folder / "giant").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(workspace.WorkspaceError, match="'giant' is larger than 1 KiB"):
        workspace.read(folder, LIMITS)


def test_a_workspace_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "w").symlink_to("/etc")
    with pytest.raises(workspace.WorkspaceError, match="gone"):
        workspace.read(tmp_path / "w", LIMITS)


def test_a_device_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    try:
        os.mknod(tmp_path / "w" / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(workspace.WorkspaceError, match="'null' is not a regular file"):
        workspace.read(tmp_path / "w", LIMITS)
