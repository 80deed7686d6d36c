"""upstream_git's mirror when a fetch is killed, meets another, or finds the disk full."""

from __future__ import annotations

import contextlib
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

from speedrun.adapters import upstream_git
from speedrun.adapters.git_mirror import Mirror
from speedrun.files import SpeedrunError
from upstream_repo import Built, build

NOWHERE = "a" * 40


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The repository as it is, for tests that change nothing in it."""
    return build(tmp_path_factory.mktemp("upstream"))


def opened(built: Built, where: str, folder: Path) -> upstream_git.GitRepository:
    return upstream_git.open_repository(where, folder / "mirror.git", [built.commit])


def url(built: Built) -> str:
    return built.repository.as_uri()


def packs(mirror: Path) -> list[str]:
    return sorted(path.name for path in (mirror / "objects" / "pack").iterdir())


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
