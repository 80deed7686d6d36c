"""What a run on graphics cards needs besides a CPU run: its cards, and more of the node.

The devices of its own cards and the kernel's description of the hardware are shown in the sandbox;
every compile cache lies in the run's own work folder, so that no run profits from an earlier one.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from speedrun.files import SpeedrunError
from speedrun.runner import clock, workflow
from speedrun.schema import Gpus, TrainSpec

QUERY = "index,uuid,name,driver_version,memory.used,pci.bus_id"
QUERY_S = 60
BUSY_MB = 1024  # a driver's own share of a card stays well below it
FREE_WAIT_S = 30.0  # what an ended program held is given back a while after its end
PAUSE_S = 1.0  # between two looks at a card that is waited for
DEVICES = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/gpus")  # what the driver says of each card
CARD_FILE = re.compile(r"nvidia\d+")
# Which PCI devices and processors there are: CUDA and NCCL choose their paths by it.
SYSTEM = ("/sys/devices", "/sys/bus/pci", "/sys/class", "/sys/module")
# What a scheduler or an administrator says about the cards; it is recorded with the run.
PASSED = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVSHMEM_DISABLE_NVLS",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST",
)
PASSED_PREFIX = "NCCL_"
# A run has no network: a node's words about it would fail every run that heeds them.
NETWORK = ("NCCL_SOCKET_IFNAME", "NCCL_NET", "NCCL_NET_PLUGIN", "NCCL_COMM_ID")
FOLDERS = ("LD_LIBRARY_PATH", "CUDA_HOME")  # passed as the folders that they name


@dataclass(frozen=True)
class Card:
    """One line of nvidia-smi's list; ``used_mb`` is None where the driver does not say."""

    index: str
    uuid: str
    name: str
    driver: str
    used_mb: int | None
    bus: str = ""  # its place on the PCI bus, e.g. 00000000:3B:00.0


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
    return [
        Card(index, uuid, name, driver, _number(used_mb), bus)
        for index, uuid, name, driver, used_mb, bus in (row for row in rows if len(row) == 6)
    ]


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _visible(listed: Sequence[Card], choice: str | None) -> list[Card]:
    """Return the cards that CUDA_VISIBLE_DEVICES leaves, in its order: by index or by UUID."""
    if choice is None:
        return list(listed)
    words = [word.strip() for word in choice.split(",") if word.strip()]
    found = (
        card
        for word in words
        for card in listed
        if word == card.index or (word.startswith("GPU-") and card.uuid.startswith(word))
    )
    return list(dict.fromkeys(found))  # a card named twice is one card


@contextlib.contextmanager
def reserved(spec: TrainSpec) -> Iterator[Gpus | None]:
    """Keep every other run of this user off the cards, and say what they are and hold.

    Two runs on one card would each measure half of it; the wait is part of neither. Raises
    SpeedrunError when another program holds a card before or after the run, or a card is lost
    meanwhile: such a run says nothing about its code, so nothing of it may be kept.
    """
    asked_by = workflow.find()
    with contextlib.ExitStack() as locks:
        for card in sorted(cards(spec), key=lambda card: card.uuid):
            file = locks.enter_context(open(_lock_file(card), "w", opener=_opener))
            _lock(file, asked_by)
        found = _free_cards(spec)
        workflow.demand(asked_by)
        yield _description(found) if found else None
        _free_cards(spec)


def _lock(file: TextIO, asked_by: clock.Process | None) -> None:
    """Wait for the lock as long as somebody wants the run."""
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        workflow.demand(asked_by)
        time.sleep(PAUSE_S)


def _lock_file(card: Card) -> Path:
    return Path(tempfile.gettempdir()) / f"speedrun-{os.getuid()}-{card.uuid}.lock"


def _opener(path: str, flags: int) -> int:
    """Open without following a link, which anybody could have put into a shared /tmp."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _free_cards(spec: TrainSpec) -> list[Card]:
    """Return the run's cards as soon as no program holds memory of them."""
    deadline_s = time.monotonic() + FREE_WAIT_S
    while True:
        found = cards(spec)
        busy = next((card for card in found if (card.used_mb or 0) > BUSY_MB), None)
        if busy is None:
            return found
        if time.monotonic() > deadline_s:
            raise SpeedrunError(
                f"another program holds {busy.used_mb} MiB of GPU {busy.index} ({busy.name}), "
                "which would distort the run: wait for its end and run again, or choose other "
                "cards with CUDA_VISIBLE_DEVICES"
            )
        time.sleep(PAUSE_S)


def _description(found: Sequence[Card]) -> Gpus:
    used_mb = [card.used_mb for card in found]
    return Gpus([card.name for card in found], found[0].driver, used_mb, passed())


def passed() -> dict[str, str]:
    """Return the variables of our own environment that a run on cards is given."""
    kept = {
        name: value
        for name, value in sorted(os.environ.items())
        if name in PASSED or (name.startswith(PASSED_PREFIX) and name not in NETWORK)
    }
    named = {name: ":".join(map(str, _named(name))) for name in FOLDERS}
    return kept | {name: value for name, value in named.items() if value}


def _named(variable: str) -> list[Path]:
    """Return the folders that a variable names, as they are.

    An empty or relative word means the folder of whoever reads it: bubblewrap starts in the work
    folder, and would load a candidate's libraries outside the sandbox.
    """
    words = [Path(word) for word in os.environ.get(variable, "").split(":")]
    found = (path.resolve() for path in words if path.is_absolute() and path.is_dir())
    return list(dict.fromkeys(found))


def variables(spec: TrainSpec, home: str) -> dict[str, str]:
    """Return what the environment of a run on cards holds besides a CPU run's.

    Its cards are named by UUID, whatever the node called them: a run on one card of eight must not
    find the other seven. Caches are the run's own: a compile that an earlier run paid for would
    make this one look faster than its code is, and the cap of its time counts the compile.
    """
    if not used(spec):
        return {}
    return {
        **passed(),
        "CUDA_VISIBLE_DEVICES": ",".join(card.uuid for card in cards(spec)),
        "TORCHINDUCTOR_CACHE_DIR": f"{home}/.cache/inductor",
        "TRITON_CACHE_DIR": f"{home}/.cache/triton",
    }


def tools() -> list[Path]:
    """Return nvidia-smi, which upstream's scripts call: as found and as it is; [] without it."""
    found = shutil.which("nvidia-smi")
    return [] if found is None else [Path(found).absolute(), Path(found).resolve()]


def devices(spec: TrainSpec) -> list[str]:
    """Return bubblewrap's arguments for /dev: the driver's files and those of the run's cards.

    Raises SpeedrunError where it cannot be told which file is a card's.
    """
    if not used(spec):
        return []
    shared = [path for path in DEVICES.glob("nvidia*") if not CARD_FILE.fullmatch(path.name)]
    paths = sorted(str(path) for path in [*shared, *_card_files(cards(spec))])
    return [argument for path in paths for argument in ("--dev-bind", path, path)]


def _card_files(found: Sequence[Card]) -> list[Path]:
    """Return the device files of the cards: all there are, if the node has no other card."""
    there = [path for path in DEVICES.glob("nvidia*") if CARD_FILE.fullmatch(path.name)]
    return there if len(there) <= len(found) else [DEVICES / _file_name(card) for card in found]


def _file_name(card: Card) -> str:
    """Return the name of a card's device file, whose number need not be the card's index."""
    domain, _, place = card.bus.lower().partition(":")
    told = DRIVER / f"{domain[-4:]}:{place}" / "information"
    text = told.read_text(encoding="utf-8", errors="replace") if told.is_file() else ""
    number = re.search(r"^Device Minor:\s*(\d+)", text, re.MULTILINE)
    if number is None:
        raise SpeedrunError(
            f"{told} does not tell the device file of GPU {card.index}, and a run must not see the "
            "node's other cards: ask the scheduler for no more cards than the run needs"
        )
    return f"nvidia{number[1]}"


def folders(spec: TrainSpec) -> list[str]:
    """Return what else the sandbox must show read-only: hardware, tools and libraries."""
    if not used(spec):
        return []
    outside = [path for path in tools() if not path.parent.resolve().is_relative_to("/usr")]
    return [*SYSTEM, *dict.fromkeys(str(path) for path in [*outside, *libraries(spec)])]


def libraries(spec: TrainSpec) -> list[Path]:
    """Return the folders of libraries that the node names and a run may see."""
    named = [path for name in FOLDERS for path in _named(name)] if used(spec) else []
    return [path for path in named if not (path.is_relative_to("/usr") or _private(path))]


def _private(folder: Path) -> bool:
    """Say whether a folder holds more than libraries: our data, a home, other runs' folders."""
    ours = Path.cwd().resolve()
    homes = [ours, Path(os.path.expanduser("~")).resolve(), Path(tempfile.gettempdir()).resolve()]
    return folder.is_relative_to(ours) or any(home.is_relative_to(folder) for home in homes)
