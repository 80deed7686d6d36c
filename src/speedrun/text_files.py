"""Text formats that several stages read or write: CSV tables, and YAML that a person wrote."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from speedrun.files import SpeedrunError


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return CSV text: None is empty, floats have six significant digits.

    Without ``columns`` they are the first row's, in its order.
    """
    if columns is None:
        columns = list(rows[0]) if rows else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def yaml_mapping(path: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file. Errors: SpeedrunError that says what is wrong."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SpeedrunError(f"{path} is not valid YAML: {reason}; correct it") from error
    if not isinstance(values, dict):
        raise SpeedrunError(f"{path}: expected keys and values, got {type(values).__name__}")
    return values
