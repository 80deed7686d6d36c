"""upstream_git's mirror when a fetch is killed, meets another, or finds the disk full."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speedrun.adapters import git_command, upstream_git
from speedrun.adapters.git_mirror import Mirror
from speedrun.files import SpeedrunError
from upstream_mirror import opened, packs, url
from upstream_repo import Built, build

NOWHERE = "a" * 40


FETCH = """
import sys
from pathlib import Path
from speedrun.adapters import upstream_git
upstream_git.open_repository(sys.argv[1], Path(sys.argv[2]), [sys.argv[3]])
"""


@pytest.fixture
def stalling_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A git whose remote sends a part of its answer and then nothing; call it to end that."""
    real, folder = shutil.which("git"), tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(
        f'#!/bin/bash\nwords=()\nfor word in "$@"; do words+=("$word")\n'
        f'[ "$word" = fetch ] && words+=("--upload-pack={folder}/upload")\ndone\n'
        f'exec {real} "${{words[@]}}"\n'
    )
    (folder / "upload").write_text(
        f'#!/bin/bash\n{real} upload-pack "$@" | {{ dd bs=1 count=1500 status=none; '
        f"touch {folder}/sent; exec sleep 60; }}\n"
    )
    for script in folder.iterdir():
        script.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{path}")
    return lambda: monkeypatch.setenv("PATH", path)


@contextlib.contextmanager
def fetching(built: Built, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A fetch in a process group of its own, caught in the middle."""
    command = [sys.executable, "-c", FETCH, url(built), str(tmp_path / "mirror.git"), built.commit]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: (tmp_path / "bin" / "sent").exists())
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_fetch_is_made_good_by_the_next(
    stalling_git: Callable[[], None], tmp_path: Path
) -> None:
    built = build(tmp_path)
    with fetching(built, tmp_path):
        pass  # killed on leaving
    assert not (tmp_path / "mirror.git").exists()
    assert list(tmp_path.glob(".mirror.git.*"))  # half a mirror, aside
    stalling_git()
    repository = opened(built, url(built), tmp_path)
    assert repository.read(built.commit, "LICENSE") == b"MIT\n"
    assert not list(tmp_path.glob(".mirror.git.*"))


def test_an_orphaned_git_is_waited_for(
    stalling_git: Callable[[], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only the harness is killed; its git fetches on, and keeps the lock until it ends."""
    built = build(tmp_path)
    with fetching(built, tmp_path) as process:
        process.kill()
        process.wait()
        stalling_git()
        threading.Timer(0.5, os.killpg, (process.pid, signal.SIGKILL)).start()
        repository = opened(built, url(built), tmp_path)
    assert repository.read(built.commit, "LICENSE") == b"MIT\n"
    assert "another process fetches into" in capfd.readouterr().err


def test_leftovers_of_a_killed_fetch_of_contents_are_cleared(built: Built, tmp_path: Path) -> None:
    repository = opened(built, url(built), tmp_path)
    mirror = tmp_path / "mirror.git"
    half, lock = mirror / "objects" / "pack" / "tmp_pack_a1b2c3", mirror / "config.lock"
    half.write_bytes(b"PACK")
    lock.touch()
    assert repository.read(built.commit, "LICENSE") == b"MIT\n"
    assert not half.exists() and not lock.exists()


def test_two_fetch_at_once_and_both_succeed(built: Built, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCH, url(built), str(tmp_path / "mirror.git"), built.commit]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert len(packs(tmp_path / "mirror.git")) == 3  # one of them fetched, the others found it


def test_a_full_disk_is_one_clear_line(built: Built, tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: git is stopped in the middle of a pack."""
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))\n{FETCH}"
    command = [sys.executable, "-c", limited, url(built), str(tmp_path / "m.git"), built.commit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "SpeedrunError: fetching the history" in last
    assert "free space" in last
    assert [path.name for path in tmp_path.iterdir()] == ["m.git.lock"]


def test_git_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeedrunError, match="git is not installed"):
        Mirror(tmp_path / "m.git", "file:///nowhere").fetch_commits([NOWHERE])


# --- what is asked of git, and what it says ----------------------------------------------------
@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program of ours before the machine's own: its name, and what its script does."""
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


@pytest.mark.parametrize("version", ["2.31.9", "1.99"])
def test_git_that_is_too_old_is_said(
    version: str, built: Built, tmp_path: Path, fake: Callable[[str, str], None]
) -> None:
    fake("git", f'echo "git version {version}"')
    said = rf"git version {version} is too old: install git 2\.32 or newer"
    with pytest.raises(SpeedrunError, match=said):
        opened(built, str(built.repository), tmp_path)
    with pytest.raises(SpeedrunError, match=said):
        upstream_git.resolve(url(built), tmp_path / "mirror.git", "master")


@pytest.mark.parametrize("version", ["2.32.0", "3.0.1 (Somebody's Git-154)", "unknown"])
def test_git_that_may_do_is_not_refused(version: str, fake: Callable[[str, str], None]) -> None:
    fake("git", f'echo "git version {version}"')
    git_command.check_version()


def test_ssh_tells_why_it_failed(
    built: Built, tmp_path: Path, fake: Callable[[str, str], None]
) -> None:
    fake("ssh", "echo 'Hello' >&2\necho 'Permission denied (key).' >&2\nexit 255")
    with pytest.raises(SpeedrunError, match=r"failed \(Permission denied \(key\)\.\): check"):
        opened(built, "someone@example.org:x.git", tmp_path)


class Refusing(http.server.BaseHTTPRequestHandler):
    """Asks for a password, and refuses whoever gives one."""

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self.server.seen.append(given)  # type: ignore[attr-defined]
        self.send_response(403 if given else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="here"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_password_in_the_address_is_used_but_neither_shown_nor_kept(
    built: Built,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.seen = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://me:s3cret@127.0.0.1:{server.server_port}/x.git"
        with pytest.raises(SpeedrunError, match="403") as made:
            opened(built, where, tmp_path)
        opened(built, url(built), tmp_path)  # a mirror is there now, of another address
        with pytest.raises(SpeedrunError, match="403") as again:
            upstream_git.open_repository(where, tmp_path / "mirror.git", [NOWHERE])
        server.shutdown()
        seen = server.seen  # type: ignore[attr-defined]
    assert f"Basic {base64.b64encode(b'me:s3cret').decode()}" in seen
    told = f"{made.value} {again.value} {''.join(capfd.readouterr())}"
    assert f"http://127.0.0.1:{server.server_port}/x.git" in told
    kept = [path for path in (tmp_path / "mirror.git").rglob("*") if path.is_file()]
    assert "s3cret" not in told and not [path for path in kept if b"s3cret" in path.read_bytes()]
