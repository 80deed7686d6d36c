"""What a run on graphics cards needs besides a CPU run: its cards, and more of the node.

The driver's devices and the kernel's description of the hardware are shown in the sandbox; every
compile cache lies in the run's own work folder, so that no run profits from an earlier one.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedrun.files import SpeedrunError
from speedrun.schema import Gpus, TrainSpec

QUERY = "index,uuid,name,driver_version,memory.used"
QUERY_S = 60
BUSY_MB = 1024  # a driver's own share of a card stays well below it
# Which PCI devices and processors there are: CUDA and NCCL choose their paths by it.
SYSTEM = ("/sys/devices", "/sys/bus/pci", "/sys/class", "/sys/module")
# What a scheduler or an administrator says about the cards; it is recorded with the run.
PASSED = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "LD_LIBRARY_PATH",
    "NVSHMEM_DISABLE_NVLS",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST",
)
PASSED_PREFIX = "NCCL_"


@dataclass(frozen=True)
class Card:
    """One line of nvidia-smi's list; ``used_mb`` is None where the driver does not say."""

    index: str
    uuid: str
    name: str
    driver: str
    used_mb: int | None


def used(spec: TrainSpec) -> bool:
    """Say whether a run needs cards at all."""
    return spec.device != "cpu" and spec.trainer == "real"


def cards(spec: TrainSpec) -> list[Card]:
    """Return the cards that a run will use, none without a GPU.

    Raises SpeedrunError when the node has fewer than the run needs, or another model.
    """
    if not used(spec):
        return []
    found = _visible(_listed(), os.environ.get("CUDA_VISIBLE_DEVICES"))[: spec.world_size]
    if len(found) < spec.world_size:
        raise SpeedrunError(
            f"{spec.world_size} GPUs are needed and {len(found)} are visible here: choose another "
            "hardware=, or ask the scheduler for more"
        )
    for card in found:
        if spec.gpu and card.name != spec.gpu:
            raise SpeedrunError(
                f"GPU {card.index} is a {card.name}, not the {spec.gpu} of this hardware "
                "profile: choose another hardware=, or train.gpu"
            )
    return found


def _listed() -> list[Card]:
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=QUERY_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SpeedrunError(
            f"this hardware profile needs a GPU, and nvidia-smi does not answer here ({error}): "
            "run on a GPU node, or choose hardware=cpu"
        ) from error
    rows = csv.reader(answer.stdout.splitlines(), skipinitialspace=True)
    return [Card(row[0], row[1], row[2], row[3], _number(row[4])) for row in rows if len(row) == 5]


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _visible(listed: Sequence[Card], choice: str | None) -> list[Card]:
    """Return the cards that CUDA_VISIBLE_DEVICES leaves, in its order: by index or by UUID."""
    if choice is None:
        return list(listed)
    words = [word.strip() for word in choice.split(",") if word.strip()]
    return [
        card
        for word in words
        for card in listed
        if word == card.index or (word.startswith("GPU-") and card.uuid.startswith(word))
    ]


@contextlib.contextmanager
def reserved(spec: TrainSpec) -> Iterator[Gpus | None]:
    """Keep every other run of this user off the cards, and say what they are and hold.

    Two runs on one card would each measure half of it; the wait is part of neither.
    """
    with contextlib.ExitStack() as locks:
        for card in sorted(cards(spec), key=lambda card: card.uuid):
            name = f"speedrun-{os.getuid()}-{card.uuid}.lock"
            file = locks.enter_context(open(Path(tempfile.gettempdir()) / name, "w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        found = cards(spec)
        _warn_if_busy(found)
        yield _description(found) if found else None


def _warn_if_busy(found: Sequence[Card]) -> None:
    for card in found:
        if card.used_mb is not None and card.used_mb > BUSY_MB:
            print(
                f"note: another program holds {card.used_mb} MiB of GPU {card.index} "
                f"({card.name}): the times of this run may suffer",
                file=sys.stderr,
            )


def _description(found: Sequence[Card]) -> Gpus:
    used_mb = [card.used_mb for card in found]
    return Gpus([card.name for card in found], found[0].driver, used_mb, passed())


def passed() -> dict[str, str]:
    """Return the variables of our own environment that a run on cards is given."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in PASSED or name.startswith(PASSED_PREFIX)
    }


def variables(spec: TrainSpec, home: str) -> dict[str, str]:
    """Return what the environment of a run on cards holds besides a CPU run's.

    Caches are the run's own: a compile that an earlier run paid for would make this one look
    faster than its code is, and the cap of its time counts the compile.
    """
    if not used(spec):
        return {}
    return {
        **passed(),
        "TORCHINDUCTOR_CACHE_DIR": f"{home}/.cache/inductor",
        "TRITON_CACHE_DIR": f"{home}/.cache/triton",
    }


def tools() -> list[Path]:
    """Return the folders of nvidia-smi, which upstream's scripts call: as found and as it is."""
    found = shutil.which("nvidia-smi")
    return [] if found is None else [Path(found).parent, Path(found).resolve().parent]


def devices(spec: TrainSpec) -> list[str]:
    """Return bubblewrap's arguments for /dev; the node's own limits on devices still hold."""
    paths = sorted(str(path) for path in Path("/dev").glob("nvidia*")) if used(spec) else []
    return [argument for path in paths for argument in ("--dev-bind", path, path)]


def folders(spec: TrainSpec) -> list[str]:
    """Return what else the sandbox must show read-only: hardware, tools and libraries."""
    if not used(spec):
        return []
    named = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), os.environ.get("CUDA_HOME", "")]
    libraries = [Path(name) for name in named if name.startswith("/") and Path(name).is_dir()]
    shown = [path for path in [*tools(), *libraries] if not path.is_relative_to("/usr")]
    return [*SYSTEM, *dict.fromkeys(str(path) for path in shown if path != Path("/"))]
