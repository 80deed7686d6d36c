"""A sweep from its configuration: arms resolved against their groups, checked before any job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speedrun import files, plan, specs
from speedrun.adapters import arms, hydra_config, task_table
from speedrun.files import SpeedrunError
from speedrun.stages.task import HINT_FILES

COUNTS = (("references", "runs"), ("audit", "rounds"), ("audit", "lanes"))
SHARES = (("references", "p_max"), ("audit", "confidence"), ("audit", "loss_p_max"))


def load(config_folder: Path, sweep: str, overrides: list[str]) -> dict[str, Any]:
    """Return the configuration of a sweep with ``arms`` resolved to plain values.

    Errors: SpeedrunError in one line, naming the nearest valid name, or the key of a bad value.
    """
    config = hydra_config.load(config_folder, sweep, overrides)
    _check_values(config)
    resolved = {
        str(name): arms.resolve(config_folder, config, str(name), arm)
        for name, arm in config["arms"].items()
    }
    judge = dict(config["judge"])
    if "model" in judge:
        judge["model"] = hydra_config.option(config_folder, "model", judge["model"])
    resolved_tasks = task_table.resolve(config_folder.parent, config)
    return {**resolved_tasks, "arms": resolved, "judge": judge}


def _check_values(config: dict[str, Any]) -> None:
    """Refuse, in one line that names the key, what no job could work with."""
    for section, key in COUNTS:
        arms.check_count(config[section][key], f"{section}.{key}")
    for section, key in SHARES:
        share = config[section][key]
        if not isinstance(share, float) or not 0 < share < 1:
            raise SpeedrunError(f"config: {section}.{key} must lie between 0 and 1, got {share!r}")
    arms.check_scaffold(config["scaffold"], "scaffold")
    if not isinstance(config["arms"], dict) or not config["arms"]:
        raise SpeedrunError(f"config: arms must name at least one arm, got {config['arms']!r}")
    _check_seeds(config["seeds"])
    tasks = config["tasks"]
    if not tasks or not (isinstance(tasks, str) or _all_are(tasks, str)):
        raise SpeedrunError(
            "config: tasks must be one name, a list of names, or all (or an expression over the "
            f"task table), got {tasks!r}"
        )


def _check_seeds(seeds: Any) -> None:
    if not seeds or not _all_are(seeds, int) or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise SpeedrunError(
            "config: seeds must be a list of different whole numbers from 0, such as seeds=[0,1], "
            f"got {seeds!r}"
        )


def _all_are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


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

    The records of a track with a registry are fetched by the workflow. Errors: SpeedrunError
    naming the missing file.
    """
    track, chosen = config["track"]["name"], plan.tasks(config)
    if "registry" not in config["track"]:
        for record in sorted({name for task in chosen for name in (task.start, task.target)}):
            _require(repository / "tracks" / track / "records" / record / config["track"]["entry"])
    for task in chosen:
        for level in specs.hint_levels(config):
            _require_hint(repository, f"{track}/{task.name}", level)


def _require_hint(repository: Path, task: str, level: str) -> None:
    if level not in HINT_FILES:
        raise SpeedrunError(f"hints: no level {level!r}{hydra_config.nearest(level, HINT_FILES)}")
    name = f"hints/{task}/{HINT_FILES[level]}"
    path = repository / name
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        raise SpeedrunError(
            f"hints: {level} of task {task} is missing or empty: write {name}, "
            "or choose other hints for the arms"
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
