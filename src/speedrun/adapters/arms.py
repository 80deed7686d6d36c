"""One arm of a sweep: what its line of configuration means, every name and value checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from speedrun import plan
from speedrun.adapters import hydra_config
from speedrun.files import SpeedrunError

KEYS = ("coder", "hints", "model", "scaffold", "mode")
MODES = ("reproduce",)
WITHOUT_MODEL = ("null", "oracle", "tuner", "replay")


def resolve(config_folder: Path, config: dict[str, Any], name: str, wanted: Any) -> dict[str, Any]:
    """Return an arm's slice: coder, hints, model and scaffold as values, and its node budget.

    Errors: SpeedrunError in one line for a wrong name, key or value.
    """
    if not re.fullmatch(plan.ARM_NAME, name):
        raise SpeedrunError(
            f"config: arm {name!r} names a folder: use lower-case letters, digits, _ and + alone"
        )
    arm = _mapping(wanted if wanted is not None else {}, f"arms.{name}")
    _check_keys(arm, KEYS, f"arm {name!r}")
    coder = _coder(config_folder, name, arm.get("coder"))
    scaffold = _scaffold(config_folder, config["scaffold"], name, arm.get("scaffold"))
    budget = scaffold.pop("n_nodes")
    most = coder.pop("max_nodes", None)
    hints = hydra_config.option(config_folder, "hints", str(arm.get("hints", "none")))
    return {
        "coder": coder,
        "hints": hints["levels"],
        "model": _model(config_folder, name, coder["name"], str(arm.get("model", "none"))),
        "scaffold": scaffold,
        "mode": _mode(name, str(arm.get("mode", MODES[0]))),
        "n_nodes": min(budget, most) if most is not None else budget,
    }


def _coder(config_folder: Path, arm: str, wanted: Any) -> dict[str, Any]:
    """Return an arm's coder: by name, or by name with values of its own over the option's.

    An unquoted null is YAML's nothing and means the null coder.
    """
    named = "null" if wanted is None else wanted
    changed = {"name": named} if isinstance(named, str) else _mapping(named, f"arms.{arm}.coder")
    chosen = hydra_config.option(config_folder, "coder", str(changed.get("name")))
    _check_keys(changed, chosen, f"the coder of arm {arm!r}")
    coder = {**chosen, **changed}
    if coder.get("max_nodes") is not None:
        check_count(coder["max_nodes"], f"arms.{arm}.coder.max_nodes")
    return coder


def _scaffold(
    config_folder: Path, default: dict[str, Any], arm: str, wanted: Any
) -> dict[str, Any]:
    """Return an arm's scaffold: another one by name, the sweep's own, or values over either.

    The budget stays the sweep's, unless the arm gives its own n_nodes.
    """
    key = f"arms.{arm}.scaffold"
    named = {} if wanted is None else wanted
    changed = {"name": named} if isinstance(named, str) else _mapping(named, key)
    base = default
    if "name" in changed:
        chosen = hydra_config.option(config_folder, "scaffold", str(changed["name"]))
        base = {**chosen, "n_nodes": default["n_nodes"]}
    _check_keys(changed, base, f"the scaffold of arm {arm!r}")
    scaffold = {**base, **changed}
    check_scaffold(scaffold, key)
    return scaffold


def check_scaffold(scaffold: dict[str, Any], key: str) -> None:
    """Refuse sizes that are no whole numbers of at least 1; ``n_initial`` may be null (flat)."""
    for size in ("n_nodes", "n_branch", "n_initial"):
        if size != "n_initial" or scaffold[size] is not None:
            check_count(scaffold[size], f"{key}.{size}")


def _model(config_folder: Path, arm: str, coder: str, name: str) -> dict[str, Any]:
    model = hydra_config.option(config_folder, "model", name)
    if coder in WITHOUT_MODEL and name != "none":
        raise SpeedrunError(
            f"config: arm {arm!r} gives model {name!r} to coder {coder!r}, which asks no model: "
            "leave the model out"
        )
    return model


def _mode(arm: str, mode: str) -> str:
    if mode not in MODES:
        raise SpeedrunError(
            f"config: unknown mode {mode!r} in arm {arm!r}{hydra_config.nearest(mode, MODES)}"
        )
    return mode


def check_count(value: Any, key: str) -> None:
    """Refuse a value that is no whole number of at least 1, naming its key."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpeedrunError(f"config: {key} must be a whole number of at least 1, got {value!r}")


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpeedrunError(f"config: {key} must hold keys and values, got {value!r}")
    return {str(name): one for name, one in value.items()}


def _check_keys(given: Iterable[str], valid: Iterable[str], place: str) -> None:
    for key in given:
        if key not in valid:
            raise SpeedrunError(
                f"config: unknown key {key!r} in {place}{hydra_config.nearest(key, valid)}"
            )
