"""Constant folding: what "fo" + "rk" is, without running anything. Bounded in size and depth."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from speedrun.rules.sensitive import words

UNKNOWN = object()
LENGTH = 10_000  # characters or bytes of a folded constant
MAGNITUDE = 10**18  # of a folded number
DEPTH = 60
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
}
METHODS = words("lower upper strip lstrip rstrip replace removeprefix removesuffix")
Names = Callable[[ast.AST, int], object]


def fold_expression(node: ast.AST, names: Names, depth: int = 0) -> object:
    """Return the constant that ``node`` is, or UNKNOWN; ``names`` folds names and fields."""
    if depth > DEPTH:
        return UNKNOWN
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return names(node, depth)
    try:
        return _bounded(_fold(node, lambda part: fold_expression(part, names, depth + 1)))
    except (TypeError, ValueError, ArithmeticError, IndexError, LookupError):
        return UNKNOWN


def _bounded(value: object) -> object:
    if isinstance(value, str | bytes | tuple) and len(value) > LENGTH:
        return UNKNOWN
    if isinstance(value, int | float) and abs(value) > MAGNITUDE:
        return UNKNOWN
    return value


def _fold(node: ast.AST, fold: Callable[[ast.AST], object]) -> object:
    if isinstance(node, ast.BinOp):
        return _binary(node.op, fold(node.left), fold(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = fold(node.operand)
        return -value if isinstance(value, int | float) else UNKNOWN
    if isinstance(node, ast.JoinedStr):
        return _joined([fold(part) for part in node.values])
    if isinstance(node, ast.FormattedValue):
        value = fold(node.value)
        return str(value) if isinstance(value, str | int) and not node.format_spec else UNKNOWN
    if isinstance(node, ast.Tuple | ast.List):
        parts = tuple(fold(part) for part in node.elts[:LENGTH])
        return UNKNOWN if UNKNOWN in parts else parts
    if isinstance(node, ast.Subscript):
        return _subscript(node, fold)
    if isinstance(node, ast.Call):
        return _call(node, fold)
    return UNKNOWN


def _joined(parts: list[object]) -> object:
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(parts) else UNKNOWN


def _binary(kind: ast.operator, left: Any, right: Any) -> object:
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    if isinstance(kind, ast.Pow):
        small = isinstance(right, int | float) and abs(right) <= 64 and abs(left) <= 10**6
        value = left**right if small else UNKNOWN
        return UNKNOWN if isinstance(value, complex) else value
    if isinstance(kind, ast.LShift) and not (isinstance(right, int) and 0 <= right < 64):
        return UNKNOWN
    if isinstance(kind, ast.Mult) and not _short(left, right):
        return UNKNOWN
    if isinstance(kind, ast.Mod) and isinstance(left, str | bytes):
        plain = isinstance(left, str) and re.fullmatch(r"(?:[^%]|%[sdr%])*", left)
        return left % right if plain and len(left) < 200 else UNKNOWN  # widths fill the memory
    return OPERATORS[type(kind)](left, right) if type(kind) in OPERATORS else UNKNOWN


def _short(left: Any, right: Any) -> bool:
    """Return whether a product stays small: "x" * 10**9 must not be computed."""
    sized = next((one for one in (left, right) if isinstance(one, str | bytes | tuple)), None)
    if sized is None:
        return True
    times = right if sized is left else left
    return isinstance(times, int) and len(sized) * max(times, 0) <= LENGTH


def _subscript(node: ast.Subscript, fold: Callable[[ast.AST], object]) -> object:
    base: Any = fold(node.value)
    if not isinstance(base, str | bytes | tuple):
        return UNKNOWN
    if not isinstance(node.slice, ast.Slice):
        index: Any = fold(node.slice)
        return base[index] if isinstance(index, int) else UNKNOWN
    ends: list[Any] = [
        None if part is None else fold(part)
        for part in (node.slice.lower, node.slice.upper, node.slice.step)
    ]
    return UNKNOWN if UNKNOWN in ends else base[slice(*ends)]


def _call(node: ast.Call, fold: Callable[[ast.AST], object]) -> object:
    """Fold str methods, "".join, chr, str, int and bytes of constants."""
    if node.keywords:
        return UNKNOWN
    given: list[Any] = [fold(argument) for argument in node.args]
    if UNKNOWN in given:
        return UNKNOWN
    if isinstance(node.func, ast.Name):
        return _builtin(node.func.id, given)
    if not isinstance(node.func, ast.Attribute):
        return UNKNOWN
    base: Any = fold(node.func.value)
    if isinstance(base, str) and node.func.attr == "join" and len(given) == 1:
        return _joined(list(given[0])) if base == "" else base.join(given[0])
    if isinstance(base, str) and node.func.attr in METHODS:
        return getattr(base, node.func.attr)(*given)
    if isinstance(base, bytes) and node.func.attr == "decode":
        return base.decode("utf-8")
    return UNKNOWN


def _builtin(name: str, given: list[Any]) -> object:
    if len(given) != 1:
        return UNKNOWN
    (value,) = given
    if name == "chr" and isinstance(value, int):
        return chr(value)
    if name == "str" and isinstance(value, str | int):
        return str(value)
    if name == "int" and isinstance(value, int | float):
        return int(value)
    if name == "bytes" and isinstance(value, tuple):
        return bytes(value)
    if name == "float" and isinstance(value, int | float):
        return float(value)
    return UNKNOWN
