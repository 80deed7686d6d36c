"""A sweep's grid: every combination of the values that it lists is an arm of its own.

``only`` picks cells of it, so that a sweep of thousands of trials can be run part by part.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from speedrun.adapters import arms, checked, hydra_config, selection
from speedrun.files import SpeedrunError

# Listed values of these make arms, in this order in an arm's name. What lists documents or holds
# keys and values is the same for all arms of a grid.
DIMENSIONS = ("coder", "model", "scaffold", "hints", "mode", "memory", "summary")


def expand(config: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep's own arms and those of its grid, by name, as they stand in configuration.

    Errors: SpeedrunError in one line for an unknown key, an empty list or two arms of one name.
    """
    own, grid = config["arms"], config.get("grid")
    if not isinstance(own, dict) or not (own or grid):
        raise SpeedrunError(f"config: arms must name at least one arm, got {own!r}")
    found = {str(name): arm for name, arm in own.items()}
    for name, arm in _cells(checked.mapping(grid, "grid")) if grid else ():
        if name in found:
            raise SpeedrunError(f"config: two arms are called {name!r}: rename one, or narrow grid")
        found[name] = arm
    return found


def _cells(grid: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return each combination with its name: the listed values, joined by _."""
    checked.keys(grid, arms.KEYS, "grid")
    listed = [key for key in DIMENSIONS if isinstance(grid.get(key), list)]
    for key in listed:
        if not grid[key]:
            raise SpeedrunError(
                f"config: grid.{key} lists nothing: give it values, or leave it out"
            )
    if not listed:
        raise SpeedrunError("config: grid lists nothing: write e.g. grid: {hints: [none, l1]}")
    combinations = itertools.product(*(grid[key] for key in listed))
    chosen = [dict(zip(listed, values, strict=True)) for values in combinations]
    return [("_".join(map(_word, cell.values())), {**grid, **cell}) for cell in chosen]


def _word(value: Any) -> str:
    """Return a value as part of a folder's name."""
    named = value.get("name") if isinstance(value, dict) else value
    text = "+".join(map(str, named)) if isinstance(named, list) else _said(named)
    return re.sub(r"[^a-z0-9_+]", "_", text.lower())


def _said(value: Any) -> str:
    """Return a value in words; YAML's nothing is the null coder."""
    return "null" if value is None else str(value)


def row(name: str, arm: dict[str, Any]) -> dict[str, Any]:
    """Return what ``only`` may ask about an arm."""
    return {
        "arm": name,
        "coder": arm["coder"]["name"],
        "model": arm["model"]["name"],
        "scaffold": arm["scaffold"]["name"],
        "hints": "+".join(arm["hints"]) or "none",
        "mode": arm["mode"],
        "knowledge": "knowledge" in arm,
        "retrieval": "retrieval" in arm,
        "memory": arm.get("memory", "none"),
        "summary": arm.get("summary", "none"),
        "preflight": "preflight" in arm,
    }


def pick(resolved: dict[str, dict[str, Any]], only: Any) -> dict[str, dict[str, Any]]:
    """Return the arms that ``only`` asks for: columns with their values, or an expression.

    Errors: SpeedrunError in one line for an unknown column or value, or when no arm is left.
    """
    rows = [row(name, arm) for name, arm in resolved.items()]
    if isinstance(only, str):
        chosen = selection.matching(rows, only, key="arm", asked="only")
    else:
        chosen = _with_values(rows, checked.mapping(only, "only"))
    return {name: resolved[name] for name in chosen}


def _with_values(rows: list[dict[str, Any]], wanted: dict[str, Any]) -> list[str]:
    checked.keys(wanted, rows[0], "only")
    asked = {key: value if isinstance(value, list) else [value] for key, value in wanted.items()}
    for key, values in asked.items():
        there = {str(row[key]) for row in rows}
        for value in values:
            if _said(value) not in there:
                near = hydra_config.nearest(_said(value), there)
                raise SpeedrunError(f"config: only.{key}: no arm has {value!r}{near}")
    words = {key: set(map(_said, values)) for key, values in asked.items()}
    chosen = [str(row["arm"]) for row in rows if all(str(row[key]) in words[key] for key in words)]
    if not chosen:
        raise SpeedrunError(f"config: no arm matches only={wanted!r}: widen it")
    return chosen
