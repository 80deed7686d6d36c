"""Builds the training environment of an era from its pinned requirements, with uv, whole or not.

An environment is ready when its environment.json is there, which is written last: PyTorch imports
and every pin is installed as it is pinned. A build that fails or is killed leaves none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files
from speedrun.files import SpeedrunError

READY = "environment.json"
IMPORT_S = 300  # a cold import of PyTorch from a network file system
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;#]+)")
# Runs in the new environment, so the standard library alone.
LIST = (
    "import importlib.metadata as m, json, platform; print(json.dumps({'python': platform."
    "python_version(), 'packages': {d.metadata['Name'].lower().replace('_', '-'): d.version "
    "for d in m.distributions()}}))"
)


@dataclass(frozen=True)
class Request:
    """What to build. ``index`` replaces every index that the requirements name, if given."""

    requirements: Path
    python: str  # version or path of an interpreter, for uv
    index: str = ""
    advice: str = (
        "correct the file, give another --index or --python, or set hardware.python to an "
        "interpreter of your own"
    )

    def digest(self) -> str:
        """Return what tells environments apart: comments and the index do not matter."""
        return files.digest_value([self.lines(options=False), self.python])

    def lines(self, options: bool) -> list[str]:
        """Return the requirements, with the lines of options (``--extra-index-url``) or without."""
        try:
            text = self.requirements.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpeedrunError(f"{self.requirements} cannot be read: {error}") from error
        lines = [line.partition(" #")[0].strip() for line in text.splitlines()]
        kept = [line for line in lines if line and not line.startswith("#")]
        return [line for line in kept if options or not line.startswith("-")]

    def pins(self) -> dict[str, str]:
        """Return the pinned versions by normalised name."""
        matches = (PIN.match(line) for line in self.lines(options=False))
        return {match[1].lower().replace("_", "-"): match[2] for match in matches if match}


def build(request: Request, out: Path) -> dict[str, Any]:
    """Return environment.json of ``out``, building the environment first unless it is ready.

    Raises SpeedrunError, leaving nothing, when uv is missing, a requirement cannot be installed
    or the result is not what was pinned.
    """
    request.digest()  # a file that cannot be read is an error before anything is touched
    out.parent.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        ready = _ready(out, request)
        if ready is not None:
            return ready
        _remove(out)
        with _staged(out) as staged:
            seen = _install(request, staged)
            files.write_json(staged / READY, seen)
            staged.rename(out)
    return seen


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Wait for another build of the same environment, then clear what a killed one left."""
    with (out.parent / f".{out.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for stale in out.parent.glob(f".{out.name}.building-*"):
            _remove(stale)
        yield


@contextlib.contextmanager
def _staged(out: Path) -> Iterator[Path]:
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.building-", dir=out.parent))
    staged.chmod(0o755)
    try:
        yield staged
    finally:
        _remove(staged)


def _remove(folder: Path) -> None:
    """Delete an environment, its mark first: a half-deleted one must not look ready."""
    (folder / READY).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _ready(out: Path, request: Request) -> dict[str, Any] | None:
    """Return the environment that is there, if it is the one that is asked for."""
    if not (out / READY).is_file():
        return None
    found: dict[str, Any] = files.read_json(out / READY)
    return found if found.get("digest") == request.digest() else None


def _install(request: Request, folder: Path) -> dict[str, Any]:
    """Make a virtual environment that does not name its own folder, and check what is in it."""
    options = ["--quiet", "--relocatable", "--allow-existing", "--python", request.python]
    _uv(request, "venv", *options, str(folder))
    python = folder / "bin" / "python"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join(request.lines(options=not request.index)) + "\n")
        wanted.flush()
        # PyTorch's own indexes hold old copies of common packages: take the best of all.
        options = ["--index-strategy", "unsafe-best-match", "--compile-bytecode"]
        options += ["--index-url", request.index] if request.index else []
        words = ["--python", str(python), "-r", wanted.name]
        _uv(request, "pip", "install", "--quiet", *options, *words)
    seen = json.loads(_ask(request, python, LIST))
    _check(request, seen["packages"])
    if "torch" in request.pins():
        _ask(request, python, "import torch")
    return {"digest": request.digest(), "requirements": request.requirements.name, **seen}


def _uv(request: Request, *words: str) -> None:
    """Run uv; its last lines say what is wrong."""
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise SpeedrunError("uv is missing: install it (pip install uv) and run again")
    answer = subprocess.run([uv, *words], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        said = answer.stderr.replace(words[-1], str(request.requirements))
        raise _broken(request, f"uv {words[0]}: {_one_line(said)}")


def _ask(request: Request, python: Path, code: str) -> str:
    """Run a line in the new environment."""
    variables = {**os.environ, "PYTHONPATH": ""}
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", code],
            capture_output=True, text=True, check=True, timeout=IMPORT_S, env=variables,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise _broken(request, f"its Python fails: {str(said).strip().splitlines()[-1]}") from error
    return answer.stdout


def _check(request: Request, installed: dict[str, str]) -> None:
    """Raise SpeedrunError unless each pin is met; a pin without a build (+cu126) takes any."""
    for name, version in request.pins().items():
        found = installed.get(name, "absent")
        if version not in (found, found.partition("+")[0]):
            raise _broken(request, f"{name} is {found}, not {version}")


def _broken(request: Request, what: str) -> SpeedrunError:
    return SpeedrunError(
        f"the environment of {request.requirements} cannot be built ({what}): {request.advice}"
    )


def _one_line(text: str) -> str:
    """Return uv's message without its frames, shortened."""
    return " ".join(re.sub(r"[^\x20-\x7e]+", " ", text).split())[:400]
