"""Which tasks of a track a sweep names: all, names, or an expression over the task table.

An expression is pandas's own (DataFrame.eval), cut down to what compares columns with constants:
no call, no attribute, no variable, so that a configuration cannot run code.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable
from typing import Any

from speedrun.files import SpeedrunError

TASK_NAME = r"\w+(-\w+)?"
MANY = 20  # names that an error still lists one by one
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr,
    ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip


def choose(
    rows: list[dict[str, Any]], excluded: dict[str, str], wanted: list[str] | str
) -> list[str]:
    """Return the names of the tasks that ``wanted`` names, in the table's order.

    ``excluded`` gives the transitions that are no tasks, and why. Errors: SpeedrunError in one
    line, naming the nearest name or column.
    """
    names = [row["task"] for row in rows]
    wanted = wanted.strip() if isinstance(wanted, str) else wanted
    if wanted == "all":
        return names
    if isinstance(wanted, str) and _is_expression(wanted, rows):
        return _matching(rows, wanted)
    asked = [wanted] if isinstance(wanted, str) else wanted
    for name in asked:
        _check_name(name, names, excluded)
    return [name for name in names if name in asked]


def _is_expression(wanted: str, rows: list[dict[str, Any]]) -> bool:
    return wanted in rows[0] or not re.fullmatch(TASK_NAME, wanted)


def _check_name(name: str, names: list[str], excluded: dict[str, str]) -> None:
    if name in excluded:
        raise SpeedrunError(f"config: {name} is no task: {excluded[name]}")
    if name not in names:
        raise SpeedrunError(
            f"config: unknown task {name!r}; nearest is {_nearest(name, names)!r} "
            f"(valid: {_listed(names)}, or all)"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= MANY else f"{names[0]} to {names[-1]}"


def _matching(rows: list[dict[str, Any]], expression: str) -> list[str]:
    """Return the tasks for which the expression holds; none is an error."""
    import pandas as pd

    _check_expression(expression, list(rows[0]))
    table = pd.DataFrame(rows)
    try:
        holds = table.eval(expression, engine="python", parser="pandas")
    except Exception as error:  # pandas raises many kinds for what it cannot compare
        raise _bad(expression, str(error).splitlines()[0] if str(error) else repr(error)) from error
    if not isinstance(holds, pd.Series) or not pd.api.types.is_bool_dtype(holds):
        raise _bad(expression, "it is not true or false for each task")
    names: list[str] = table.loc[holds, "task"].tolist()
    if not names:
        raise SpeedrunError(f"config: no task matches tasks={expression!r}: widen it")
    return names


def _check_expression(expression: str, columns: list[str]) -> None:
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _bad(expression, "it is not an expression") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in columns:
            raise SpeedrunError(
                f"config: tasks={expression!r}: unknown column {node.id!r}; nearest is "
                f"{_nearest(node.id, columns)!r} (valid: {', '.join(columns)})"
            )
        if not isinstance(node, ALLOWED):
            raise _bad(expression, f"{type(node).__name__} is not allowed")


def _nearest(word: str, valid: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(valid), n=1, cutoff=0.0)[0]


def _bad(expression: str, why: str) -> SpeedrunError:
    return SpeedrunError(
        f"config: tasks={expression!r}: {why}: write all, a task's name, a list of names, or "
        """comparisons of columns such as "gain_percent >= 5 and era == 'flex'\""""
    )
