"""Our own partial mirror of a repository: commits and trees at once, contents when asked for.

Made aside and renamed, so that it is there whole or not at all; later fetches add packs, which
git itself renames when they are complete. One process at a time fetches.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from speedrun.adapters import git_command
from speedrun.adapters.git_command import GitError
from speedrun.files import SpeedrunError

NO_CONTENTS = "--filter=blob:none"
REFUSED = re.compile(r"(?:not our ref|unable to read|bad object) ([0-9a-f]{40})")
FULL_DISK = ("No space left", "File too large", "SIGXFSZ", f"signal {int(signal.SIGXFSZ)}")
DAMAGED = re.compile(
    r"^(?!remote:).*(?:packfile|corrupt|ended by SIG(?:SEGV|BUS|ABRT))", re.MULTILINE
)
COMMIT = re.compile(r"[0-9a-f]{40}")


class Mirror:
    """A bare partial clone of ``url`` in ``folder``."""

    def __init__(self, folder: Path, url: str) -> None:
        """Name the two; nothing is read or written yet."""
        if url.startswith("-"):
            raise SpeedrunError(f"{url!r} is no URL: correct --repo")
        self.folder, self.url = folder.absolute(), url
        self.shown = git_command.without_credentials(url)  # printed, and kept in the mirror

    @property
    def objects(self) -> Path:
        """The object store."""
        return self.folder / "objects"

    def exists(self) -> bool:
        """Return whether it has been made; a folder that is something else is an error."""
        if not self.folder.exists():
            return False
        if not (self.folder / "HEAD").is_file() or not self.objects.is_dir():
            raise SpeedrunError(f"{self.folder} is no git mirror: delete it and run again")
        return True

    def fetch_commits(self, commits: Sequence[str]) -> None:
        """Make the mirror where there is none, and fetch these commits with their history."""
        refs = [f"+{commit}:refs/speedrun/{commit}" for commit in commits]
        self._fetch_refs(refs, "it has no such commit: correct the registry's commit, or --repo")

    def fetch_name(self, name: str) -> str:
        """Fetch what a branch, tag or commit is now, and return the commit."""
        absent = "it has no such branch or commit: give a branch or all 40 digits of a commit"
        self._fetch_refs([f"+{name}:refs/speedrun/newest"], absent)
        found = self._git("rev-parse", "refs/speedrun/newest^{commit}")
        return found.decode("ascii").strip()

    def fetch_contents(self, blobs: Sequence[str]) -> None:
        """Fetch blobs in one request; those that the other side lacks too stay absent."""
        if not blobs:
            return
        with self._alone() as lock:
            wanted = set(blobs)
            while wanted:
                refused = self._request(wanted, lock) & wanted
                if not refused:
                    return
                wanted -= refused

    def _request(self, blobs: set[str], lock: int) -> set[str]:
        """Ask for blobs; return those over which the other side stumbled, so that none came."""
        asked = "".join(f"{blob}\n" for blob in sorted(blobs)).encode("ascii")
        try:
            self._fetch(self.folder, "--stdin", data=asked, lock=lock)
        except GitError as error:
            refused = set(REFUSED.findall(error.stderr))
            if not refused & blobs:
                raise SpeedrunError(self._advice(error, f"{len(blobs)} files")) from error
            return refused
        return set()

    def _fetch_refs(self, refs: list[str], absent: str) -> None:
        """Fetch refs; ``absent`` is the advice where the other side has none of that name."""
        with self._alone() as lock:
            try:
                if self.exists():
                    self._fetch(self.folder, *refs, lock=lock)
                else:
                    self._make(refs, lock)
            except GitError as error:
                raise SpeedrunError(self._advice(error, "the history", absent)) from error

    def _make(self, refs: list[str], lock: int) -> None:
        print(f"fetching {self.shown} into {self.folder}", file=sys.stderr)
        made = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        try:
            git_command.run("init", "--quiet", "--bare", "--template=", str(made))
            for key, value in self._settings():
                git_command.run("--git-dir", str(made), "config", key, value)
            self._fetch(made, *refs, lock=lock)
            made.chmod(0o755)
            made.rename(self.folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _settings(self) -> list[tuple[str, str]]:
        """Return what makes it a partial clone."""
        return [
            ("core.repositoryFormatVersion", "1"),
            ("remote.origin.url", self.shown),
            ("remote.origin.promisor", "true"),
            ("remote.origin.partialCloneFilter", "blob:none"),
        ]

    def _fetch(self, folder: Path, *words: str, data: bytes = b"", lock: int) -> None:
        """Fetch into ``folder``. git holds the lock as well: it may outlive this process."""
        whole = words[0] == "--stdin"  # contents: no haggling over what is here already
        haggling = ["-c", "fetch.negotiationAlgorithm=noop"] if whole else []
        self._point(folder)
        where = ["--git-dir", str(folder)]
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", NO_CONTENTS]
        words = (*where, *haggling, "fetch", *options, "origin", *words)
        git_command.run(*words, more=self._credentials(), data=data, kept_open=(lock,))

    def _credentials(self) -> dict[str, str]:
        """Return the settings, for one call, that put a URL's user and password back into it."""
        if self.shown == self.url:
            return {}
        key = f"url.{self.url}.insteadOf"
        values = {"GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": self.shown}
        return {"GIT_CONFIG_COUNT": "1", **values}

    def _point(self, folder: Path) -> None:
        """Let ``origin`` be this URL: an older mirror may have been made from another."""
        at = ("--git-dir", str(folder), "config", "remote.origin.url")
        if git_command.run(*at).decode().strip() != self.shown:
            git_command.run(*at, self.shown)

    def _git(self, *words: str) -> bytes:
        return git_command.run("--git-dir", str(self.folder), *words)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """Hold the mirror's lock, and clear what a killed fetch has left; yields its descriptor."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_name(f"{self.folder.name}.lock").open("a") as lock:
            _wait_for(lock.fileno(), self.folder)
            self._clear(self.folder.parent.glob(f".{self.folder.name}.*"))
            self._clear(self.objects.glob("pack/tmp_*"))
            self._clear(self.folder.glob("config.lock"))
            yield lock.fileno()

    def _clear(self, left: Iterable[Path]) -> None:
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _advice(self, error: GitError, what: str, absent: str = "") -> str:
        return (
            f"fetching {what} of {self.shown} into {self.folder} failed ({error}): "
            f"{self._next_step(error, absent)}"
        )

    def _next_step(self, error: GitError, absent: str) -> str:
        said = f"{error} {error.stderr}"
        if any(words in said for words in FULL_DISK):
            return f"free space below {self.folder.parent} and run again"
        if "filtering not recognized" in said and "pack-objects died" in said:
            return (
                "it lacks contents and gives no partial clones: set uploadpack.allowFilter there, "
                "or give its folder, not a URL, with --repo"
            )
        if DAMAGED.search(said) and self.folder.exists():
            return f"the mirror may be damaged: delete {self.folder} and run again"
        if absent and (REFUSED.search(said) or "find remote ref" in said):
            return absent
        return "check the address and the network, or give a local clone with --repo PATH"


def check_commit(commit: str) -> None:
    """Refuse what is no full commit id, before git takes it for an option or a branch."""
    if not COMMIT.fullmatch(commit):
        raise SpeedrunError(f"{commit!r} is no full commit id (40 hexadecimal digits): correct it")


def _wait_for(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another process fetches into {folder}: waiting for it", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
