"""A sweep from its configuration: arms resolved against their groups, checked before any job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speedrun import files, plan
from speedrun.adapters import hydra_config
from speedrun.files import SpeedrunError

ARM_KEYS = ("coder", "hints", "model", "scaffold", "mode")


def load(config_folder: Path, sweep: str, overrides: list[str]) -> dict[str, Any]:
    """Return the configuration of a sweep with ``arms`` resolved to plain values.

    Errors: SpeedrunError in one line, naming the nearest valid name.
    """
    config = hydra_config.load(config_folder, sweep, overrides)
    arms = {
        str(name): resolve_arm(config_folder, config, str(name), dict(arm or {}))
        for name, arm in config["arms"].items()
    }
    plan.choose_tasks(config["track"]["records"], config["tasks"])
    judge = dict(config["judge"])
    if "model" in judge:
        judge["model"] = hydra_config.option(config_folder, "model", judge["model"])
    return {**config, "arms": arms, "judge": judge}


def resolve_arm(
    config_folder: Path, config: dict[str, Any], name: str, arm: dict[str, Any]
) -> dict[str, Any]:
    """Return an arm's slice: coder, hints, model and scaffold as values, and its node budget."""
    for key in arm:
        if key not in ARM_KEYS:
            raise SpeedrunError(
                f"config: unknown key {key!r} in arm {name!r}{hydra_config.nearest(key, ARM_KEYS)}"
            )
    coder = _coder(config_folder, name, arm.get("coder", "null"))
    scaffold = _scaffold(config_folder, config["scaffold"], arm.get("scaffold", {}))
    budget = int(scaffold.pop("n_nodes"))
    most = coder.pop("max_nodes", None)
    return {
        "coder": coder,
        "hints": hydra_config.option(config_folder, "hints", str(arm.get("hints", "none")))[
            "levels"
        ],
        "model": hydra_config.option(config_folder, "model", str(arm.get("model", "none"))),
        "scaffold": scaffold,
        "mode": str(arm.get("mode", "reproduce")),
        "n_nodes": min(budget, most) if most else budget,
    }


def _coder(config_folder: Path, arm: str, wanted: str | dict[str, Any]) -> dict[str, Any]:
    """Return an arm's coder: by name, or by name with values of its own over the option's."""
    changed = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    chosen = hydra_config.option(config_folder, "coder", str(changed.get("name")))
    for key in changed:
        if key not in chosen:
            raise SpeedrunError(
                f"config: unknown key {key!r} in the coder of arm {arm!r}"
                f"{hydra_config.nearest(key, chosen)}"
            )
    return {**chosen, **changed}


def _scaffold(
    config_folder: Path, default: dict[str, Any], wanted: str | dict[str, Any]
) -> dict[str, Any]:
    """Return an arm's scaffold: another one by name, or values over the sweep's own.

    The budget stays the sweep's, unless the arm gives its own n_nodes.
    """
    if isinstance(wanted, str):
        chosen = hydra_config.option(config_folder, "scaffold", wanted)
        return {**chosen, "n_nodes": default["n_nodes"]}
    return {**default, **wanted}


def as_overrides(value: Any) -> list[str]:
    """Return ``--config overrides=...`` as a list: a YAML list, or one string."""
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SpeedrunError(
            f"config: overrides must be a list of key=value strings, got {value!r}: "
            """write --config overrides='["scaffold.n_nodes=4"]'"""
        )
    return value


def check_inputs(repository: Path, config: dict[str, Any]) -> None:
    """Check that the records and hints that a sweep needs exist, before any job starts.

    Errors: SpeedrunError naming the missing file.
    """
    track = config["track"]["name"]
    tasks = plan.choose_tasks(config["track"]["records"], config["tasks"])
    for record in sorted({name for task in tasks for name in (task.start, task.target)}):
        _require(repository / "tracks" / track / "records" / record / config["track"]["entry"])
    levels = {level for arm in config["arms"].values() for level in arm["hints"]}
    for task in tasks:
        for level in sorted(levels):
            folder = repository / "hints" / track / task.name
            if not list(folder.glob(f"{level}_*.md")):
                raise SpeedrunError(
                    f"hints: {level} of task {track}/{task.name} is missing: write "
                    f"hints/{track}/{task.name}/{level}_*.md, or choose other hints for the arms"
                )


def _require(path: Path) -> None:
    if not path.is_file():
        raise SpeedrunError(f"records: {path} is missing: is the track's record list right?")


def write_plan(whole: dict[str, Any], path: str, stage_pattern: str) -> None:
    """Write plan.json and the slice of each stage and task; unchanged files keep their mtime."""
    _write(Path(path), whole)
    for stage in plan.STAGE_SECTIONS:
        for entry in whole["tasks"]:
            name = stage_pattern.format(
                stage=stage, track=whole["track"]["name"], task=entry["task"]
            )
            _write(Path(name), plan.task_slice(whole, stage, entry["task"]))


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    files.write_text_if_changed(path, text)
