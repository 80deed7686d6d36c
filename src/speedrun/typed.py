"""Dataclasses to JSON and back, every key and type checked; standard library only."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from speedrun import files

T = TypeVar("T")


def to_dict(value: Any) -> Any:
    """Return a dataclass as plain JSON values."""
    return dataclasses.asdict(value)


def from_dict(kind: type[T], data: Any) -> T:
    """Build ``kind`` from JSON values; a missing, unknown or mistyped key is a SpeedrunError."""
    if not isinstance(data, dict):
        raise files.SpeedrunError(f"{kind.__name__}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise files.SpeedrunError(f"{kind.__name__}: unknown key {unknown[0]!r}")
    try:
        return kind(**{key: _convert(hints[key], value, key) for key, value in data.items()})
    except TypeError as error:
        raise files.SpeedrunError(f"{kind.__name__}: {error}") from error


def _convert(hint: Any, value: Any, key: str) -> Any:
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(arguments[0], value, key)
    if origin in (list, dict) and not isinstance(value, origin):
        raise files.SpeedrunError(f"{key}: expected {origin.__name__}, got {value!r}")
    if origin is list:
        return [_convert(arguments[0], item, key) for item in value]
    if origin is dict:
        return {name: _convert(arguments[1], item, key) for name, item in value.items()}
    if isinstance(hint, type):
        return _convert_plain(hint, value, key)
    return value


def _convert_plain(hint: type, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value)
    if issubclass(hint, StrEnum):
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise files.SpeedrunError(f"{key}: expected {hint.__name__}, got {value!r}")
    return value


def load(kind: type[T], path: Path) -> T:
    """Read ``path`` as ``kind``; errors name the file."""
    try:
        return from_dict(kind, files.read_json(path))
    except (files.SpeedrunError, ValueError) as error:
        raise files.SpeedrunError(f"{path}: {error}") from error


def save(path: Path, value: Any) -> None:
    """Write a dataclass as JSON, atomically."""
    files.write_json(path, to_dict(value))
