"""The git command line, run so that nothing of the user's settings can change what it does."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from speedrun.files import SpeedrunError

# What a network or a key may need; everything else of the user's environment stays outside.
KEPT = re.compile(
    r"PATH|HOME|TMPDIR|(https?|all|no|ftp)_proxy|SSL_.*|CURL_CA_BUNDLE|GIT_SSL_.*|SSH_AUTH_SOCK",
    re.IGNORECASE,
)
CLEAN = {
    "LC_ALL": "C",  # messages are read below
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
}
SETTINGS = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("safe.directory", "*"),  # read as data: none of its hooks or programs is run
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    ("http.lowSpeedLimit", "1000"),  # bytes per second; a stalled connection ends
    ("http.lowSpeedTime", "60"),
)
OLDEST = (2, 32)  # the first that GIT_CONFIG_GLOBAL tells to leave the user's settings alone
_VERSION = re.compile(r"git version (\d+)\.(\d+)")
_USERINFO = re.compile(r"(?<=://)[^/\s'\"]*@")
_NO_REASON = "fatal: Could not read from remote repository."  # ssh gave its own, before it


class GitError(SpeedrunError):
    """git failed; the message holds its own last words, ``stderr`` all of them."""

    def __init__(self, message: str, stderr: str) -> None:
        """Keep git's output beside the message."""
        super().__init__(message)
        self.stderr = stderr


def command(*words: str) -> list[str]:
    """Return the command line of one git call."""
    settings = [word for key, value in SETTINGS for word in ("-c", f"{key}={value}")]
    return ["git", *settings, *words]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that git gets: no prompt, no configuration of user or system."""
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    return kept | CLEAN | dict(more or {})


def without_credentials(text: str) -> str:
    """Return a text whose URLs name no user, password or token: what is printed or kept."""
    return _USERINFO.sub("", text)


def check_version() -> None:
    """Refuse a git that lacks what is asked of it here, before it fails in words of its own."""
    said = run("version").decode("ascii", "replace").strip()
    found = _VERSION.match(said)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SpeedrunError(f"{said} is too old: install git {oldest} or newer, and run again")


def run(
    *words: str,
    more: Mapping[str, str] | None = None,
    data: bytes = b"",
    kept_open: tuple[int, ...] = (),
) -> bytes:
    """Run git and return its output. ``kept_open``: file descriptors that git shall hold too.

    Errors: GitError with what git said last.
    """
    try:
        done = subprocess.run(
            command(*words),
            input=data,
            capture_output=True,
            env=environment(more),
            pass_fds=kept_open,
            check=False,
        )
    except FileNotFoundError as error:
        raise SpeedrunError("git is not installed: install it and run again") from error
    if done.returncode:
        raise failure(done.returncode, done.stderr)
    return done.stdout


def failure(returncode: int, stderr: bytes) -> GitError:
    """Return the error of a git call: its first fatal line, ssh's own, or the signal."""
    text = without_credentials(stderr.decode("utf-8", "replace"))
    if returncode < 0:
        return GitError(f"git was ended by {signal.Signals(-returncode).name}", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: fatal:"))]
    ssh = lines[: lines.index(_NO_REASON)] if telling[:1] == [_NO_REASON] else []
    said = (ssh[-1:] or telling or lines or [f"git ended with code {returncode}"])[0]
    plain = "".join(char if char.isprintable() else "?" for char in said)
    return GitError(plain.removeprefix("remote: "), text)


@contextlib.contextmanager
def bare_view(objects: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which git sees the objects of a repository, and nothing else of it.

    An empty repository borrows them. So git reads no configuration there, writes nothing, and
    does not ask the network for a missing object: it says that the object is missing.
    """
    with tempfile.TemporaryDirectory(prefix="speedrun-git-") as name:
        folder = Path(name)
        for part in ("objects", "refs"):
            (folder / part).mkdir()
        (folder / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        yield {"GIT_DIR": name, "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(objects)}


def _quoted(path: Path) -> str:
    """Return a path as git's colon-separated list wants it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
