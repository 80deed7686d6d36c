"""The rule ``blob``: weights or counted tables written down in the source.

Thresholds: what the records hold is told by ``bench/rule_alarms.py``. Docstrings are text.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module

LONG_TEXT = 4000  # characters of one literal
DENSE_TEXT = 160  # characters without a space, that look like an encoding
DENSE_BITS = 4.2  # a character; English words joined have about 4, base64 has 6, hex has 4
MANY_NUMBERS = 200  # constants in one display
LONG_NUMBER = 10**60
FILE_CHARS = 250_000  # of one file; the largest of a record has 120,000
HEX = re.compile(r"[0-9a-fA-F]{160,}")


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield large and dense literals, and files that are large for source."""
    for module in code.modules:
        for constant in module.of(ast.Constant):
            yield from _constant(module, constant)
        for kind in (ast.List, ast.Tuple, ast.Set, ast.Dict):
            for display in module.of(kind):
                yield from _display(module, display)
    for file, text in code.folder.texts.items():
        if len(text) > FILE_CHARS:
            yield Fact("blob", f"size {file}", file, 0, f"{file} has {len(text)} characters")
        if not file.endswith(".py"):
            yield from _other_text(file, text)


def _constant(module: Module, node: ast.Constant) -> Iterator[Fact]:
    value = node.value
    if isinstance(value, int) and abs(value) > LONG_NUMBER:
        digits = value.bit_length() * 3 // 10
        yield module.fact("blob", f"number {digits}", node, f"a number of some {digits} digits")
    if not isinstance(value, str | bytes):
        return
    text = value if isinstance(value, str) else value.decode("latin-1")
    is_text = isinstance(module.names.parents.get(node), ast.Expr)
    if dense(text):
        what = f"a literal of {len(text)} characters that looks like an encoding"
        yield module.fact("blob", f"dense {text[:40]}", node, what)
    elif len(text) > LONG_TEXT and not is_text:
        yield module.fact("blob", f"long {text[:40]}", node, f"a literal of {len(text)} characters")


def dense(text: str) -> bool:
    """Return whether some word of ``text`` is too long and too random for words or code."""
    words = text.split() if len(text) < 2_000_000 else [text]
    return any(_random(word) for word in words if len(word) >= DENSE_TEXT) or bool(HEX.search(text))


def _random(word: str) -> bool:
    total = len(word)
    counts = Counter(word).values()
    return -sum(count / total * math.log2(count / total) for count in counts) > DENSE_BITS


def _display(module: Module, node: ast.AST) -> Iterator[Fact]:
    parent = module.names.parents.get(node)
    if isinstance(parent, ast.List | ast.Tuple | ast.Set | ast.Dict):
        return  # told by the outermost
    numbers = sum(
        isinstance(part, ast.Constant) and isinstance(part.value, int | float | complex)
        for part in ast.walk(node)
    )
    if numbers > MANY_NUMBERS:
        key = f"numbers {numbers}"
        yield module.fact("blob", key, node, f"{numbers} numbers in one literal")


def _other_text(file: str, text: str) -> Iterator[Fact]:
    numbers = len(re.findall(r"\d+\.?\d*", text))
    if dense(text) or numbers > 5 * MANY_NUMBERS:
        yield Fact("blob", f"data {file}", file, 0, f"{file} holds data")
