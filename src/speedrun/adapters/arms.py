"""One arm of a sweep: what its line of configuration means, every name and value checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speedrun import plan, specs
from speedrun.adapters import arm_options, checked, coder_options, hydra_config
from speedrun.files import SpeedrunError

KEYS = ("coder", "hints", "model", "scaffold", "mode", *arm_options.OPTIONS)
REPRODUCE, OPTIMIZE = "reproduce", "optimize"
MODES = (REPRODUCE, OPTIMIZE, plan.CUMULATIVE)
WITHOUT_MODEL = ("null", "oracle", "tuner", "replay")
NO_MODEL = "none"


def resolve(config_folder: Path, config: dict[str, Any], name: str, wanted: Any) -> dict[str, Any]:
    """Return an arm's slice: what decides it as values, the options it asks for, its node budget.

    Errors: SpeedrunError in one line for a wrong name, key or value.
    """
    check_name(name)
    arm = checked.mapping(wanted if wanted is not None else {}, f"arms.{name}")
    checked.keys(arm, KEYS, f"arm {name!r}")
    coder = _coder(config_folder, name, arm.get("coder"))
    asks_model = coder.pop("needs_model")
    scaffold = _scaffold(config_folder, config["scaffold"], name, arm.get("scaffold"))
    budget = scaffold.pop("n_nodes")
    most = coder.pop("max_nodes", None)
    hints = _hints(config_folder, arm.get("hints"))
    return {
        "coder": coder,
        "hints": hints,
        "model": _model(config_folder, name, coder["name"], asks_model, arm.get("model")),
        "scaffold": scaffold,
        "mode": _mode(name, arm.get("mode", REPRODUCE), hints),
        "n_nodes": min(budget, most) if most is not None else budget,
        **arm_options.resolve(config_folder.parent, name, arm, asks_model),
    }


def check_name(name: str) -> None:
    """Refuse a name that is no folder of the workflow's."""
    if not re.fullmatch(plan.ARM_NAME, name):
        raise SpeedrunError(
            f"config: arm {name!r} names a folder: use lower-case letters, digits, _ and + alone"
        )


def _coder(config_folder: Path, arm: str, wanted: Any) -> dict[str, Any]:
    """Return an arm's coder: by name, or by name with values of its own over the option's.

    An unquoted null is YAML's nothing and means the null coder. ``needs_model`` is added where the
    option does not say it: any coder that we do not know to do without asks a model.
    """
    key = f"arms.{arm}.coder"
    changed = _named("null" if wanted is None else wanted, key)
    name = "null" if changed["name"] is None else str(changed["name"])
    option = {"name": name, **hydra_config.option(config_folder, "coder", name)}
    chosen = {"needs_model": name not in WITHOUT_MODEL, **option}
    known = coder_options.keys(chosen)
    checked.keys(changed, known, f"the coder of arm {arm!r}")
    for word in sorted(set(changed) - {"name"}):
        checked.like(changed[word], known[word], f"{key}.{word}")
    coder = coder_options.over(chosen, changed)
    coder_options.check(coder, key)
    return coder


def _named(wanted: Any, key: str) -> dict[str, Any]:
    """Return what is asked for by a name alone as by a name with values."""
    changed = {"name": wanted} if isinstance(wanted, str) else checked.mapping(wanted, key)
    if "name" not in changed:
        raise SpeedrunError(f"config: {key} must say which: write {key}.name, got {wanted!r}")
    return changed


def _scaffold(
    config_folder: Path, default: dict[str, Any], arm: str, wanted: Any
) -> dict[str, Any]:
    """Return an arm's scaffold: another one by name, the sweep's own, or values over either.

    The budget stays the sweep's, unless the arm gives its own n_nodes.
    """
    key = f"arms.{arm}.scaffold"
    named = {} if wanted is None else wanted
    changed = {"name": named} if isinstance(named, str) else checked.mapping(named, key)
    base = default
    if "name" in changed:
        chosen = hydra_config.option(config_folder, "scaffold", str(changed["name"]))
        base = {**chosen, "n_nodes": default["n_nodes"]}
    base = {**base, **{name: base.get(name, 0) for name in ("p_debug", "max_debug_depth")}}
    checked.keys(changed, base, f"the scaffold of arm {arm!r}")
    scaffold = {**base, **changed}
    checked.scaffold(scaffold, key)
    return scaffold if scaffold["p_debug"] else _without_debugging(scaffold)


def _without_debugging(scaffold: dict[str, Any]) -> dict[str, Any]:
    """Return a scaffold that never debugs, in the words that it had before there was debugging."""
    unsaid = ("p_debug", "max_debug_depth")
    return {key: value for key, value in scaffold.items() if key not in unsaid}


def _hints(config_folder: Path, wanted: Any) -> list[str]:
    """Return the levels of one of the settings of config/hints, or of a list such as [l1, l2].

    Their order is that of the setting, however they are given.
    """
    given = wanted if isinstance(wanted, list) else str(wanted or "none").split("+")
    asked = "+".join(sorted(map(str, given))) or "none"
    setting = hydra_config.option(config_folder, "hints", asked)
    return list(setting["levels"])


def _model(config_folder: Path, arm: str, coder: str, asks: bool, wanted: Any) -> dict[str, Any]:
    """Return what decides a model's replies: by name, or by name with values of the arm's own."""
    changed = _named(NO_MODEL if wanted is None else wanted, f"arms.{arm}.model")
    name = str(changed["name"])
    if not asks and name != NO_MODEL:
        raise SpeedrunError(
            f"config: arm {arm!r} gives model {name!r} to coder {coder!r}, which asks no model: "
            "leave the model out"
        )
    if asks and name == NO_MODEL:
        names = ", ".join(hydra_config.options(config_folder, "model"))
        raise SpeedrunError(
            f"config: arm {arm!r}: coder {coder!r} asks a model: give the arm one (valid: {names}; "
            "with reproduce as --model NAME)"
        )
    checked.keys(changed, specs.MODEL_KEYS, f"the model of arm {arm!r}")
    return specs.deciding({**model_option(config_folder, name), **changed})


def model_option(config_folder: Path, name: str) -> dict[str, Any]:
    """Return config/model/<name>.yaml; a key that it cannot hold is an error."""
    found = hydra_config.option(config_folder, "model", name)
    known = (*specs.MODEL_KEYS, *specs.OPERATIONAL_KEYS)
    checked.keys(found, known, f"config/model/{name}.yaml")
    return {**found, "name": name}


def _mode(arm: str, wanted: Any, hints: list[str]) -> str:
    mode = checked.one_of(wanted, MODES, "mode", f"arm {arm!r}")
    if mode == OPTIMIZE and hints:
        raise SpeedrunError(
            f"config: arm {arm!r} gives hints to mode optimize, which is without any: leave the "
            "hints out, or use mode reproduce"
        )
    return mode
