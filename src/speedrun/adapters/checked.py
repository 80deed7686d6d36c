"""Values of a configuration, checked: an error is one line with the key, or the nearest one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from speedrun.adapters import hydra_config
from speedrun.files import SpeedrunError

OFF = (None, False, "none")  # how a configuration says that something is not wanted
SCAFFOLD = ("name", "n_nodes", "n_initial", "n_branch", "p_debug", "max_debug_depth")


def count(value: Any, key: str, least: int = 1) -> int:
    """Return a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpeedrunError(
            f"config: {key} must be a whole number of at least {least}, got {value!r}"
        )
    return value


def share(value: Any, key: str) -> None:
    """Refuse what is no number strictly between 0 and 1."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise SpeedrunError(f"config: {key} must lie between 0 and 1, got {value!r}")


def amount(value: Any, key: str, *, null: bool = False) -> None:
    """Refuse what is no number above 0; ``null`` allows that there is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (null and value is None) and not (number and 0 < value < math.inf):
        words = "a number above 0, or null" if null else "a number above 0"
        raise SpeedrunError(f"config: {key} must be {words}, got {value!r}")


def like(value: Any, example: Any, key: str) -> None:
    """Refuse a value of another kind than its file's own; null there tells no kind."""
    kind: Any = type(example)
    if kind in (int, float):
        kind = int | float
    alike = isinstance(value, kind) and isinstance(value, bool) == isinstance(example, bool)
    if example is not None and not alike:
        raise SpeedrunError(f"config: {key} must be of the kind of {example!r}, got {value!r}")


def mapping(value: Any, key: str) -> dict[str, Any]:
    """Return keys and values, the keys as text."""
    if not isinstance(value, dict):
        raise SpeedrunError(f"config: {key} must hold keys and values, got {value!r}")
    return {str(name): one for name, one in value.items()}


def keys(given: Iterable[str], valid: Iterable[str], place: str) -> None:
    """Refuse an unknown key, naming the nearest."""
    valid = list(valid)
    for key in given:
        if key not in valid:
            raise SpeedrunError(
                f"config: unknown key {key!r} in {place}{hydra_config.nearest(key, valid)}"
            )


def one_of(value: Any, valid: Iterable[str], what: str, place: str) -> str:
    """Return a word of a short list, naming the nearest for any other."""
    valid = list(valid)
    if value not in valid:
        raise SpeedrunError(
            f"config: unknown {what} {value!r} in {place}{hydra_config.nearest(str(value), valid)}"
        )
    return str(value)


def scaffold(values: dict[str, Any], key: str) -> None:
    """Refuse sizes that no search could have; ``n_initial`` may be null (flat)."""
    keys(values, SCAFFOLD, key)
    for size in ("n_nodes", "n_branch", "n_initial"):
        if size != "n_initial" or values.get(size, 0) is not None:
            count(values.get(size), f"{key}.{size}")
    chance, depth = values.get("p_debug", 0.0), values.get("max_debug_depth", 0)
    number = isinstance(chance, int | float) and not isinstance(chance, bool)
    if not number or not 0 <= chance <= 1:
        raise SpeedrunError(f"config: {key}.p_debug must be from 0 to 1, got {chance!r}")
    count(depth, f"{key}.max_debug_depth", least=1 if chance else 0)
