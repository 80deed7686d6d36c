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
EXAMPLES = {
    "tasks": "all, a task's name, a list of names, or comparisons of columns such as "
    """"gain_percent >= 5 and era == 'flex'\"""",
    "only": """comparisons of columns such as "model == 'o3_mini' and hints != 'none'\", or """
    "columns with their values such as {hints: [l1, l2]}",
}
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
        return matching(rows, wanted)
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


def matching(
    rows: list[dict[str, Any]], expression: str, key: str = "task", asked: str = "tasks"
) -> list[str]:
    """Return the names, under ``key``, of the rows for which the expression holds.

    ``asked`` is what the configuration calls the choice. Errors: SpeedrunError in one line for a
    bad expression, and when it holds for none.
    """
    import pandas as pd

    said = f"{asked}={expression!r}"
    _check_expression(expression, list(rows[0]), said)
    table = pd.DataFrame(rows)
    try:
        holds = table.eval(expression, engine="python", parser="pandas")
    except Exception as error:  # pandas raises many kinds for what it cannot compare
        why = str(error).splitlines()[0] if str(error) else repr(error)
        raise _bad(said, why) from error
    if not isinstance(holds, pd.Series) or not pd.api.types.is_bool_dtype(holds):
        raise _bad(said, f"it is not true or false for each {key}")
    names: list[str] = table.loc[holds, key].tolist()
    if not names:
        raise SpeedrunError(f"config: no {key} matches {said}: widen it")
    return names


def _check_expression(expression: str, columns: list[str], said: str) -> None:
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _bad(said, "it is not an expression") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in columns:
            raise SpeedrunError(
                f"config: {said}: unknown column {node.id!r}; nearest is "
                f"{_nearest(node.id, columns)!r} (valid: {', '.join(columns)}); a text stands in "
                "quotes"
            )
        if not isinstance(node, ALLOWED):
            raise _bad(said, f"{type(node).__name__} is not allowed")


def _nearest(word: str, valid: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(valid), n=1, cutoff=0.0)[0]


def _bad(said: str, why: str) -> SpeedrunError:
    example = EXAMPLES[said.partition("=")[0]]
    return SpeedrunError(f"config: {said}: {why}: write {example}")
