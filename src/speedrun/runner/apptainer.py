"""The command line that runs untrusted code in an Apptainer (or Singularity) container.

For clusters that have it where bubblewrap cannot run. The image gives the system's libraries; the
interpreter is this machine's, bound read-only. Inside: no network, no home, no other process, the
data read-only, one writable work folder and a private /tmp, both counted by the runner's caps.
Written from Apptainer's documentation and tested with a stand-in: docs/hardware.md says what that
leaves unverified.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from speedrun.files import SpeedrunError
from speedrun.runner import gpu, hidden, hub, sandbox, shards
from speedrun.runner.sandbox import Interpreter
from speedrun.runner.start import Command
from speedrun.runner.workplace import Place
from speedrun.schema import TrainSpec

EXECUTABLES = ("apptainer", "singularity")
TRY_S = 300  # a pulled image is unpacked at its first start
# Always a user namespace: a start by setuid would leave processes that we may not kill.
FLAGS = (
    *("exec", "--userns", "--containall", "--cleanenv", "--pid", "--ipc", "--uts"),
    *("--net", "--network", "none", "--no-privs", "--no-eval"),
    # Not "home", which would drop the folder that --home names, nor "bind-paths", which would drop
    # the names of the container's own host; --containall mounts neither from here.
    *("--no-mount", "cwd,hostfs"),
)
# What the caller of a container hands to the container's starter: where its cache and tools are.
KEPT = ("PATH", "HOME", "TMPDIR", "APPTAINER_CACHEDIR", "SINGULARITY_CACHEDIR")
STARTED = "/started"  # a pipe of ours: the first process inside writes to it before the script
# What cannot be mounted Apptainer may leave out with a warning, and of that no script is guilty.
REPORT = f"""
lack() {{ echo "the container lacks $1" >&2; exit 1; }}
[ "$PWD" = "$HOME" ] || lack "$HOME"
[ -x "$1" ] || lack "$1"
for file in {shards.FOLDER}/* {shards.FOLDER}/*/*; do
    [ ! -f "$file" ] || [ -s "$file" ] || lack "$file"
done
echo started > {STARTED} || exit 1
exec "$@"
"""


@functools.cache
def find_apptainer(image: str) -> str:
    """Return an Apptainer that has been seen to start ``image``; anything else is an error."""
    found = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if not image:
        raise SpeedrunError("sandbox apptainer has no image: set hardware.image to a .sif or URI")
    if found is None:
        raise SpeedrunError(
            "apptainer is missing: load your cluster's module, or choose sandbox=bubblewrap"
        )
    if _user() == 0:  # root owns /proc/sys even without capabilities
        raise SpeedrunError("apptainer would run the code as root: start this as another user")
    if said := refusal(found, image):
        raise SpeedrunError(
            f"{found} cannot start {image} here ({said}): pull the image, ask the administrator "
            "for unprivileged user namespaces, or choose sandbox=bubblewrap"
        )
    return found


def _user() -> int:
    return os.getuid()


def identity(image: str) -> str:
    """Return what tells an image from the one that was at its place before, "" for a URI.

    By size and time: an image has gigabytes, and its digest would cost every run a minute.
    """
    try:
        status = os.stat(image)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def refusal(executable: str, image: str) -> str:
    """Return why no container of ``image`` starts, "" if one does."""
    try:
        subprocess.run(
            [executable, *FLAGS, image, "true"],
            check=True, capture_output=True, text=True, timeout=TRY_S, env=_caller(),
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        causes = [line for line in said if line.startswith(("FATAL", "ERROR", "Error"))]
        return [*causes[:1], *said[-1:], "it says nothing"][0]
    return ""


def command(
    executable: str,
    words: Sequence[str],
    python: Interpreter,
    place: Place,
    spec: TrainSpec,
    seed: int,
) -> Command:
    """Return the command that runs ``words`` in a container of ``spec.image``."""
    folder, pipe = sandbox.work_folder(python), place.root / "started"
    os.mkfifo(pipe)
    _mount_points(place)
    variables = sandbox.environment(python, folder, spec, seed)
    wrapped = [
        executable,
        *FLAGS,
        *(["--nv"] if gpu.used(spec) else []),
        *("--home", _bind(place.work, folder), "--workdir", str(place.scratch), "--pwd", folder),
        *_binds(_shown(python, place, spec, folder)),
        *("--bind", _bind(pipe, STARTED)),
        *(spec.image, "/bin/sh", "-c", REPORT, "sh", *words),
    ]
    environment = {**_caller(), **_inside(executable, variables)}
    return Command(
        wrapped, place.work, environment, False, data=place.data, shared=place.shared,
        scratch=place.scratch, started=pipe,
    )  # fmt: skip


def _mount_points(place: Place) -> None:
    """Make empty files where the data is bound: the work folder covers what the image has there."""
    for name in place.data:
        point = place.work / shards.FOLDER / name
        point.parent.mkdir(parents=True, exist_ok=True)
        point.touch()


def _shown(
    python: Interpreter, place: Place, spec: TrainSpec, folder: str
) -> list[tuple[Path, str]]:
    """Return what is bound read-only, in an order in which what hides comes last."""
    roots = hidden.roots(python)
    if system := next((root for root in roots if root.is_relative_to("/usr")), None):
        raise SpeedrunError(
            f"{python.executable} lives in {system}, where the image has its own files: set "
            "hardware.python to an environment of `uv venv --managed-python`"
        )
    given = [*roots, *sandbox.loose_hops(python), *gpu.libraries(spec)]
    data = [(path, f"{folder}/{shards.FOLDER}/{name}") for name, path in place.data.items()]
    empty = place.root / "empty"
    empty.mkdir()
    covers = [
        (empty if path.is_dir() else Path(os.devnull), str(path))
        for path in hidden.covered(python, spec.hidden, gpu.libraries(spec))
        if path.exists() and not path.is_relative_to("/usr")
    ]
    return [*((path, str(path)) for path in given), *hub.shown(spec), *data, *covers]


def _binds(shown: Sequence[tuple[Path, str]]) -> list[str]:
    return [word for path, place in shown for word in ("--bind", f"{_bind(path, place)}:ro")]


def _bind(path: Path, place: str) -> str:
    bad = next((text for text in (str(path), place) if set(text) & set(":,")), None)
    if bad:
        raise SpeedrunError(f"apptainer cannot bind {bad!r}: move it to a path without ':' and ','")
    return f"{path}:{place}"


def _caller() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ}


def _inside(executable: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by the names under which they reach the inside; HOME is an option."""
    prefix = f"{Path(executable).name.upper()}ENV_"
    return {f"{prefix}{name}": text for name, text in variables.items() if name != "HOME"}
