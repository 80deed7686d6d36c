"""What upstream's scripts download at their start, shown to a run that has no network.

The folder ``hub_cache`` holds huggingface/ (kernels of the hub) and tiktoken/ (vocabularies), each
as those libraries keep it; docs/hardware.md says how to fill it.
"""

from __future__ import annotations

from pathlib import Path

from speedrun.files import SpeedrunError
from speedrun.schema import TrainSpec

PLACE = "/hub"  # where the sandbox shows the folder
SNAPSHOTS = "huggingface/hub/models--*/snapshots/*"
SHOWN = ("huggingface/hub", "tiktoken")  # not huggingface/token, which is somebody's key


def mount(spec: TrainSpec) -> list[str]:
    """Return bubblewrap's arguments for the downloads themselves."""
    return [word for path, place in shown(spec) for word in ("--ro-bind", str(path), place)]


def shown(spec: TrainSpec) -> list[tuple[Path, str]]:
    """Return the downloads themselves, and where a sandbox shows them."""
    paths = [(_folder(spec) / name, f"{PLACE}/{name}") for name in SHOWN] if spec.hub_cache else []
    return [(path, place) for path, place in paths if path.is_dir()]


def variables(spec: TrainSpec) -> dict[str, str]:
    """Return where the libraries find the folder.

    LOCAL_KERNELS names each kernel's folder, because asking the cache for a version of a kernel
    asks the hub itself.
    """
    if not spec.hub_cache:
        return {}
    place = _folder(spec) if spec.sandbox == "none" else Path(PLACE)
    kernels = [f"{name}={place / path}" for name, path in _kernels(spec).items()]
    return {
        "HF_HOME": str(place / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TIKTOKEN_CACHE_DIR": str(place / "tiktoken"),
        **({"LOCAL_KERNELS": ":".join(kernels)} if kernels else {}),
    }


def contents(spec: TrainSpec) -> list[str]:
    """Return the downloads by name: a snapshot's is its commit, a vocabulary's its digest."""
    if not spec.hub_cache:
        return []
    folder, patterns = _folder(spec), (SNAPSHOTS, "tiktoken/*")
    return sorted(str(path.relative_to(folder)) for one in patterns for path in folder.glob(one))


def _folder(spec: TrainSpec) -> Path:
    folder = Path(spec.hub_cache).resolve()
    if not folder.is_dir():
        raise SpeedrunError(
            f"{folder} is missing: fill it as docs/hardware.md says, or set hardware.hub_cache='' "
            "and run only what downloads nothing"
        )
    return folder


def _kernels(spec: TrainSpec) -> dict[str, Path]:
    """Return the one snapshot of each repository in the hub's cache, relative to the folder."""
    found: dict[str, Path] = {}
    for path in sorted(_folder(spec).glob(SNAPSHOTS)):
        name = path.parents[1].name.removeprefix("models--").replace("--", "/")
        if name in found:
            raise SpeedrunError(
                f"{path.parent} holds several snapshots: delete all but the one to be used"
            )
        found[name] = path.relative_to(_folder(spec))
    return found
