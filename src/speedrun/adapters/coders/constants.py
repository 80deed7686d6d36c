"""Finds the numeric constants of a Python file and sets them, leaving every other byte alone."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

Number = int | float


@dataclass(frozen=True)
class Constant:
    """A literal: its magnitude (a minus sign stands outside it) and its place in UTF-8 bytes."""

    value: Number
    begin: int
    end: int


def find_constants(source: str, exclude: Collection[str] = ()) -> dict[str, Constant]:
    """Return the literals behind ``NAME = number`` at module level and in class bodies.

    Names are ``lr`` or ``Config.lr``, and ``lr#2`` where a name is set again. Zeros, booleans and
    names that hold a word of ``exclude`` (any case) are left out. SyntaxError is the caller's.
    """
    offsets = _line_offsets(source)
    found: dict[str, Constant] = {}
    for name, literal in _assignments(ast.parse(source), ""):
        if any(word.lower() in name.lower() for word in exclude):
            continue
        begin = offsets[literal.lineno - 1] + literal.col_offset
        end = offsets[(literal.end_lineno or 0) - 1] + (literal.end_col_offset or 0)
        found[_unused(name, found)] = Constant(_number(literal), begin, end)
    return found


def _line_offsets(source: str) -> list[int]:
    lines = source.encode().split(b"\n")
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line) + 1)
    return offsets


def _assignments(
    node: ast.Module | ast.ClassDef, prefix: str
) -> Iterator[tuple[str, ast.Constant]]:
    for statement in node.body:
        if isinstance(statement, ast.ClassDef):
            yield from _assignments(statement, f"{prefix}{statement.name}.")
        name, value = _target(statement)
        literal = value.operand if _is_signed(value) else value
        if name and isinstance(literal, ast.Constant) and _is_movable(literal.value):
            yield prefix + name, literal


def _is_signed(value: ast.expr | None) -> TypeGuard[ast.UnaryOp]:
    return isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub | ast.UAdd)


def _target(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return "", None
    return (target.id, statement.value) if isinstance(target, ast.Name) else ("", None)


def _is_movable(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value != 0 and math.isfinite(value)


def _number(literal: ast.Constant) -> Number:
    assert isinstance(literal.value, int | float)
    return literal.value


def _unused(name: str, found: Mapping[str, Constant]) -> str:
    names = (f"{name}#{count}" if count > 1 else name for count in range(1, len(found) + 2))
    return next(candidate for candidate in names if candidate not in found)


def set_constants(source: str, found: Mapping[str, Constant], values: Mapping[str, Number]) -> str:
    """Return ``source`` with the named literals set; a literal that keeps its value is not touched.

    ``values`` are magnitudes. Ints are written as ints and floats as floats.
    """
    content = source.encode()
    moved = [(found[name], value) for name, value in values.items() if value != found[name].value]
    for constant, value in sorted(moved, key=lambda pair: -pair[0].begin):
        content = content[: constant.begin] + repr(value).encode() + content[constant.end :]
    return content.decode()
