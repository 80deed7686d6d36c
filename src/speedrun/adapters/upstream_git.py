"""Somebody else's repository, read through git: in place, or from a partial mirror of our own.

A local repository is read where it lies and never written to. Anything else is mirrored once: all
commits and trees (about a megabyte), and of the files' contents only what is asked for, in bulk.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from speedrun.adapters import git_command
from speedrun.adapters.git_command import GitError
from speedrun.adapters.git_mirror import Mirror, check_commit
from speedrun.files import SpeedrunError

LIST_TREE = ("ls-tree", "-r", "-z", "--full-tree")


class GitRepository:
    """Commits, trees and files of a repository's object store; ``where`` names it in errors."""

    def __init__(self, objects: Path, where: str, mirror: Mirror | None = None) -> None:
        """Read from ``objects``; ``mirror`` fetches contents that are not there yet."""
        self.objects, self.where, self.mirror = objects, where, mirror
        self._files = lru_cache(maxsize=8)(self._list_files)

    def has_commit(self, commit: str) -> bool:
        """Return whether the commit is here."""
        check_commit(commit)
        try:
            self._git("cat-file", "-e", f"{commit}^{{commit}}")
        except GitError:
            return False
        return True

    def tree(self, commit: str, folder: str) -> list[str]:
        """Return all files below ``folder`` in a commit's tree, sorted; [] where there is none."""
        start = f"{folder.rstrip('/')}/" if folder else ""
        return sorted(path for path in self._files(commit) if path.startswith(start))

    def read(self, commit: str, path: str) -> bytes:
        """Return one file's content."""
        ((_, content),) = self.read_many(commit, [path])
        return content

    def read_many(self, commit: str, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield ``(path, content)`` in the order asked for, one file in memory at a time.

        Errors: SpeedrunError for the first path that cannot be read; unreadable() tells of all.
        """
        asked = list(paths)
        for reason in self.unreadable(commit, asked).values():
            raise SpeedrunError(reason)
        found = self._files(commit)
        contents = self._contents([found[path] for path in asked])
        yield from zip(asked, contents, strict=True)

    def unreadable(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """Return the paths that cannot be read and why, after fetching what can be fetched."""
        asked = list(paths)
        self.prefetch({commit: asked})
        found = self._files(commit)
        gone = self._absent({found[path] for path in asked if path in found})
        reasons = {path: self._reason(commit, path, gone) for path in asked}
        return {path: reason for path, reason in reasons.items() if reason}

    def prefetch(self, wanted: Mapping[str, Iterable[str]]) -> int:
        """Fetch the contents of ``{commit: paths}`` that are not here, in bulk; return how many."""
        if self.mirror is None:
            return 0
        names = {
            self._files(commit)[path]
            for commit, paths in wanted.items()
            for path in paths
            if path in self._files(commit)
        }
        absent = sorted(self._absent(names))
        self.mirror.fetch_contents(absent)
        return len(absent)

    def _reason(self, commit: str, path: str, gone: set[str]) -> str:
        found = self._files(commit)
        if path not in found:
            return f"{path} is not in commit {commit[:12]} of {self.where}{_moved(path, found)}"
        if found[path] in gone:
            return (
                f"{path} is listed in commit {commit[:12]} of {self.where}, but its content "
                f"(blob {found[path][:12]}) is missing there: give a complete clone with --repo"
            )
        return ""

    def _list_files(self, commit: str) -> dict[str, str]:
        """Return ``{path: blob}`` of a commit's whole tree."""
        check_commit(commit)
        try:
            listed = self._git(*LIST_TREE, commit)
        except GitError:
            self._bring(commit)
            listed = self._git(*LIST_TREE, commit)
        rows = (row.split("\t", 1) for row in listed.decode("utf-8", "replace").split("\0") if row)
        return {path: facts.split()[2] for facts, path in rows if facts.split()[1] == "blob"}

    def _bring(self, commit: str) -> None:
        """Fetch a commit that is not here; one that is here, or cannot come, is an error."""
        if self.has_commit(commit):
            raise SpeedrunError(
                f"the tree of commit {commit[:12]} of {self.where} cannot be read: {self._repair()}"
            )
        if self.mirror is None:
            raise SpeedrunError(absent_commit(commit, self.where))
        self.mirror.fetch_commits([commit])

    def _absent(self, names: set[str]) -> set[str]:
        """Return those of the blobs that are not here."""
        if not names:
            return set()
        asked = "".join(f"{name}\n" for name in sorted(names)).encode("ascii")
        answer = self._git("cat-file", "--batch-check", "--buffer", data=asked).decode("ascii")
        return {line.split()[0] for line in answer.splitlines() if line.endswith(" missing")}

    def _contents(self, names: list[str]) -> Iterator[bytes]:
        with git_command.bare_view(self.objects) as view:
            process = subprocess.Popen(
                git_command.command("cat-file", "--batch"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=git_command.environment(view),
            )
            with process:
                assert process.stdin and process.stdout and process.stderr
                try:
                    for name in names:
                        yield self._content(name, process.stdin, process.stdout, process.stderr)
                finally:
                    process.kill()

    def _content(self, name: str, asked: IO[bytes], answer: IO[bytes], stderr: IO[bytes]) -> bytes:
        """Return one content; the process answers one line, the bytes and a line end."""
        try:
            asked.write(f"{name}\n".encode("ascii"))
            asked.flush()
        except BrokenPipeError:
            pass  # what follows says why
        head = answer.readline().split()
        size = int(head[2]) if len(head) == 3 else -1
        content = answer.read(size + 1) if size >= 0 else b""
        if len(content) != size + 1 or size < 0:
            said = git_command.failure(1, stderr.read() if not head else b"").args[0]
            raise SpeedrunError(
                f"blob {name[:12]} of {self.where} cannot be read ({said}): {self._repair()}"
            )
        return content[:-1]

    def _repair(self) -> str:
        if self.mirror is not None:
            return f"delete {self.mirror.folder} and run again"
        return "run `git fsck` there, or give another clone with --repo"

    def _git(self, *words: str, data: bytes = b"") -> bytes:
        with git_command.bare_view(self.objects) as view:
            return git_command.run(*words, more=view, data=data)


def open_repository(repository: str, mirror: Path, commits: Iterable[str]) -> GitRepository:
    """Open ``repository``, a URL or a local clone, and make sure that ``commits`` are there.

    Errors: SpeedrunError when it cannot be reached, is none, or lacks a commit.
    """
    wanted = list(dict.fromkeys(commits))
    for commit in wanted:
        check_commit(commit)
    git_command.check_version()
    opened = in_place(repository) or _mirrored(repository, mirror, wanted)
    for commit in wanted:
        if not opened.has_commit(commit):
            raise SpeedrunError(absent_commit(commit, opened.where))
    return opened


def _mirrored(repository: str, folder: Path, wanted: list[str]) -> GitRepository:
    mirror = Mirror(folder, repository)
    opened = GitRepository(mirror.objects, f"{mirror.shown} (mirror {folder})", mirror)
    if not mirror.exists() or not all(map(opened.has_commit, wanted)):
        mirror.fetch_commits(wanted)
    return opened


def in_place(repository: str) -> GitRepository | None:
    """Return a local clone as it lies, or None where ``repository`` is a URL."""
    path = Path(repository).expanduser()
    if "://" in repository or (":" in repository.split("/")[0] and not path.exists()):
        return None
    if not path.is_dir():
        raise SpeedrunError(f"{repository} is no folder and no URL: correct --repo")
    try:
        found = _local_git(path, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    except GitError as error:
        raise SpeedrunError(
            f"{repository} is no git repository ({error}): give a clone or a URL with --repo"
        ) from error
    return GitRepository(Path(found), str(path))


def resolve(repository: str, mirror: Path, name: str) -> str:
    """Return the commit that a branch, a tag or a commit's name stands for in ``repository``."""
    if name.startswith("-"):
        raise SpeedrunError(f"{name!r} names no commit: give a commit or a branch")
    git_command.check_version()
    if in_place(repository) is None:
        return Mirror(mirror, repository).fetch_name(name)
    try:
        return _local_git(
            Path(repository).expanduser(), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"
        )
    except GitError as error:
        raise SpeedrunError(
            f"{repository} has no commit or branch {name!r}: run `git fetch` there"
        ) from error


def _local_git(path: Path, *words: str) -> str:
    """Run git in ``path`` itself: a folder inside another repository is none."""
    outside = {"GIT_CEILING_DIRECTORIES": str(path.resolve().parent)}
    return git_command.run("-C", str(path), *words, more=outside).decode().strip()


def absent_commit(commit: str, where: str) -> str:
    """Return the line that says that a commit is not there."""
    return (
        f"commit {commit} is not in {where}: run `git fetch` in that clone, correct the "
        "registry's commit, or give another repository with --repo"
    )


def _moved(path: str, found: Iterable[str]) -> str:
    """Return where a file of the same name lies now, as the end of a message."""
    name = PurePosixPath(path).name
    same = [other for other in found if PurePosixPath(other).name == name]
    return f": it was moved to {same[0]}" if len(same) == 1 else ": correct the registry's path"
