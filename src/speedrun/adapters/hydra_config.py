"""Hydra at the edge: a sweep's name and overrides in, plain values out.

Nothing in the core sees Hydra. A wrong key, group or option is one line that names the
nearest valid one, raised before any job starts.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from speedrun.files import SpeedrunError

OPEN = ("arms", "models")  # groups to which a command line may add
QUOTED = {"tasks": "tasks='number <= 5'", "only": """only='model == "o3_mini"'"""}


def load(config: Path, sweep: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Return the resolved configuration of ``sweep`` as plain dicts, lists and scalars.

    Errors: SpeedrunError in one line for an unknown sweep, group, option, key or a missing value.
    """
    overrides = list(overrides)
    _check_option(config, "sweep", sweep)
    try:
        return _compose(config, [f"sweep={sweep}", *overrides])
    except OverrideParseException as error:
        first, asked = str(error).splitlines()[0], [word.partition("=")[0] for word in overrides]
        example = QUOTED["only" if "only" in asked and "tasks" not in asked else "tasks"]
        raise SpeedrunError(
            f"config: {first}; write overrides as key=value, a value with spaces or signs in "
            f"quotes: {example}"
        ) from error
    # Hydra raises bare ones for a group that is given null or a list.
    except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        raise SpeedrunError(_explain(config, sweep, overrides, str(error))) from error


def option(config: Path, group: str, name: str) -> dict[str, Any]:
    """Return config/<group>/<name>.yaml, e.g. the coder that an arm names."""
    _check_option(config, group, name)
    path = config / group / f"{name}.yaml"
    source = _read(path, path.stat().st_mtime_ns)
    if missing := sorted(OmegaConf.missing_keys(source)):
        raise SpeedrunError(
            f"config: {group} {name!r} has no value for {', '.join(missing)}: copy "
            f"config/{group}/{name}.yaml to a file of your own and fill it in"
        )
    loaded = OmegaConf.to_container(source, resolve=True)
    if not isinstance(loaded, dict):
        raise SpeedrunError(f"config/{group}/{name}.yaml must hold keys and values")
    return {str(key): value for key, value in loaded.items()}


@functools.cache
def _read(path: Path, mtime_ns: int) -> Any:
    """Parse a file once, until it changes: a grid asks for the same few in hundreds of arms."""
    return OmegaConf.load(path)


def options(config: Path, group: str) -> list[str]:
    """Return the names that a group offers."""
    return sorted(path.stem for path in (config / group).glob("*.yaml"))


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return ``; nearest is 'x' (valid: ...)`` for an error message."""
    names = sorted(valid)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
    return f"; nearest is {close[0]!r} (valid: {', '.join(names)})" if close else ""


def _compose(config: Path, overrides: list[str]) -> dict[str, Any]:
    with initialize_config_dir(str(config.resolve()), version_base="1.3"):
        composed = compose("config", overrides=overrides)
    values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _check_option(config: Path, group: str, name: str) -> None:
    if name not in options(config, group):
        raise SpeedrunError(
            f"config: unknown {group} {name!r}{nearest(name, options(config, group))}"
        )


def _explain(config: Path, sweep: str, overrides: list[str], message: str) -> str:
    groups = [path.name for path in config.iterdir() if path.is_dir()]
    keys = sorted(_dotted(_compose(config, [f"sweep={sweep}"])))
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key in groups and value not in options(config, key):
            return f"config: unknown {key} {value!r}{nearest(value, options(config, key))}"
        if key not in groups and key not in keys:
            close = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
            new = f", or new with a plus: +{override}" if key.split(".")[0] in OPEN else ""
            return f"config: unknown key {key!r}; nearest is {close[0]!r}{new}"
    return f"config: {message.splitlines()[0]}"


def _dotted(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted({str(k): v for k, v in value.items()}, f"{prefix}{key}.")
