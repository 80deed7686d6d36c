"""A sweep from its configuration: arms resolved against their groups, checked before any job."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from speedrun import files, plan, specs
from speedrun.adapters import (
    arms,
    audit_policy,
    checked,
    coder_options,
    grid,
    hydra_config,
    task_table,
)
from speedrun.files import SpeedrunError
from speedrun.stages.task import HINT_FILES

SWEEP_NAME = r"[A-Za-z0-9_-]+"
COUNTS = (("references", "runs"), ("audit", "lanes"))
SHARES = (("references", "p_max"), ("audit", "confidence"), ("audit", "loss_p_max"))
# Below these a hint is a stub or was cut off. The shortest of the paper's have 246, 325 and 595
# words (arXiv 2506.22419, its repository's hint files); ours may be terser.
HINT_WORDS = {"l1": 50, "l2": 150, "l3": 300}


def load(config_folder: Path, sweep: str, overrides: list[str]) -> dict[str, Any]:
    """Return the configuration of a sweep with ``arms`` resolved to plain values.

    ``models`` then holds what is operational of each model in use, and ``whole`` the name of the
    sweep; ``name`` is another where ``only`` picks a cell of it.

    Errors: SpeedrunError in one line, naming the nearest valid name, or the key of a bad value.
    """
    config = hydra_config.load(config_folder, sweep, overrides)
    _check_values(config)
    resolved = {
        name: arms.resolve(config_folder, config, name, arm)
        for name, arm in grid.expand(config).items()
    }
    config = {**config, "whole": config["name"], "arms": resolved}
    if config["only"] is not None:
        config = _cell(config)
    judge, judging = _judge(config_folder, config["judge"])
    config, reviewing = audit_policy.resolve(config_folder, config)
    used = {arm["model"]["name"] for arm in config["arms"].values()} | judging | reviewing
    config = {**config, "judge": judge, "models": _models(config_folder, config["models"], used)}
    _check_models(config)
    config = task_table.resolve(config_folder.parent, config)
    _check_chain(config_folder.parent, config)
    return {key: value for key, value in config.items() if key not in ("grid", "only")}


def _cell(config: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep cut down to a cell, whose products stand apart from the whole sweep's."""
    name = f"{config['name']}-{files.digest_value(config['only'])[:6]}"
    return {**config, "name": name, "arms": grid.pick(config["arms"], config["only"])}


def _judge(config_folder: Path, judge: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the judge with what decides its model's replies, and that model's name."""
    if "model" not in judge:
        return judge, set()
    model = arms.model_option(config_folder, judge["model"])
    return {**judge, "model": specs.deciding(model)}, {model["name"]}


def _models(config_folder: Path, changed: Any, used: set[str]) -> dict[str, dict[str, Any]]:
    """Return what is operational of each model in use, ``models.<name>`` over its file."""
    changed = checked.mapping(changed, "models")
    checked.keys(changed, hydra_config.options(config_folder, "model"), "models")
    found = {name: specs.operational(arms.model_option(config_folder, name)) for name in used}
    for name, values in changed.items():
        values = checked.mapping(values, f"models.{name}")
        checked.keys(values, specs.OPERATIONAL_KEYS, f"models.{name}")
        if name in found:
            found[name] |= values
    return {name: found[name] for name in sorted(found) if found[name]}


def _check_models(config: dict[str, Any]) -> None:
    """Refuse a model that could not be asked, before what its file says stands on shell lines."""
    models = [arm["model"] for arm in config["arms"].values()]
    models += [one["model"] for one in (config["judge"],) if "model" in one]
    models += [one for one in (config["review"]["reviewer"],) if one]
    for model in models:
        if model["name"] != arms.NO_MODEL:
            from speedrun.adapters.models import spec

            spec.read(model, config)


def _check_values(config: dict[str, Any]) -> None:
    """Refuse, in one line that names the key, what no job could work with."""
    _check_name(config["name"])
    for section, key in COUNTS:
        checked.count(checked.mapping(config[section], section).get(key), f"{section}.{key}")
    for section, key in SHARES:
        checked.share(checked.mapping(config[section], section).get(key), f"{section}.{key}")
    for key in ("timeout_s", "memory_mb"):
        checked.amount(config["hardware"].get(key), f"hardware.{key}")
    checked.scaffold(config["scaffold"], "scaffold")
    _check_seeds(config["seeds"])
    _check_budget(config["budget"])
    _check_tasks(config["tasks"])


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(SWEEP_NAME, name):
        raise SpeedrunError(
            f"config: name names a folder: use letters, digits, _ and - alone, got {name!r}"
        )


def _check_tasks(tasks: Any) -> None:
    if not tasks or not (isinstance(tasks, str) or _all_are(tasks, str)):
        raise SpeedrunError(
            "config: tasks must be one name, a list of names, or all (or an expression over the "
            f"task table), got {tasks!r}"
        )


def _check_budget(budget: Any) -> None:
    budget = checked.mapping(budget, "budget")
    checked.keys(budget, specs.BUDGET_SCOPES, "budget")
    for scope in specs.BUDGET_SCOPES:
        caps = checked.mapping(budget.get(scope), f"budget.{scope}")
        checked.keys(caps, specs.BUDGET_UNITS, f"budget.{scope}")
        for unit, cap in caps.items():
            checked.amount(cap, f"budget.{scope}.{unit}", null=True)


def _check_chain(repository: Path, config: dict[str, Any]) -> None:
    """Refuse a cumulative arm over tasks of which one does not start where the last one ended."""
    cumulative = [name for name, arm in config["arms"].items() if arm["mode"] == plan.CUMULATIVE]
    broken = cumulative and task_table.first_break(repository, config)
    if broken:
        before, task = broken
        raise SpeedrunError(
            f"config: arm {cumulative[0]!r} is cumulative, but task {task} does not start where "
            f"{before} ended: choose tasks without a gap between them"
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
    """Check that records, hints and requirements of a sweep exist, before any job starts.

    The records of a track with a registry are fetched by the workflow. Errors: SpeedrunError
    naming the missing file.
    """
    track, chosen = config["track"]["name"], plan.tasks(config)
    for arm in config["arms"].values():
        coder_options.require_requirements(repository, arm["coder"])
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
    words = len(path.read_text(encoding="utf-8").split()) if path.is_file() else 0
    fault = (
        f"has {words} words of the {HINT_WORDS[level]} or more" if words else "is missing or empty"
    )
    if words < HINT_WORDS[level]:
        raise SpeedrunError(
            f"hints: {level} of task {task} {fault}: write {name}, "
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
