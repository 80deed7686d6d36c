"""The rule ``stream``: what reads the shards, in which order, and which shards.

Readers are the functions that touch a shard's bytes, those that call them, and methods of such
classes. How a stream is cut into batches is free; told are reads, orders, random choices and the
names of the shards.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.flow import DATA, source_labels
from speedrun.rules.output import shape
from speedrun.rules.sensitive import words

READS = words(
    "fromfile memmap frombuffer readinto from_file from_buffer seek read read_bytes from_numpy"
)
BYTES = words("fromfile memmap frombuffer readinto from_file from_buffer")
ORDERS = words("""
    sorted sort reversed shuffle randperm permutation argsort cycle islice roll flip randint choice
    sample unique random_split default_rng multinomial repeat_interleave tile topk
    """)
OWNERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield how shards are read and ordered."""
    for module in code.modules:
        for owner in readers(module):
            yield from _reading(module, owner)
        yield from _shards(module)


def readers(module: Module) -> list[ast.AST]:
    """Return the functions and classes at the module's top that read shards."""
    tops = [node for node in module.names.tree.body if isinstance(node, OWNERS)]
    called = {top.name: _called(top) for top in tops}
    known = {name for name, names in called.items() if names & BYTES}
    for _ in range(3):  # a loader's loader's loader
        known |= {name for name, names in called.items() if names & known}
    bytes_read = {name for name, names in called.items() if names & BYTES}
    return [top for top in tops if top.name in known and (top.name in bytes_read or _loads(top))]


def _loads(top: ast.AST) -> bool:
    """Return whether a reader of readers hands tokens on, and is not the script's main."""
    if _called(top) & {"backward", "step", "print"}:
        return False
    gives = (ast.Yield, ast.YieldFrom, ast.ClassDef)
    return any(
        isinstance(node, gives) or (isinstance(node, ast.Return) and node.value is not None)
        for node in ast.walk(top)
    )


def _called(node: ast.AST) -> set[str]:
    calls = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
    return {getattr(one, "attr", "") or getattr(one, "id", "") for one in calls}


def _reading(module: Module, owner: ast.AST) -> Iterator[Fact]:
    for node in ast.walk(owner):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            yield from _cut(module, node)
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", "") or getattr(node.func, "id", "")
        if name in READS or name in ORDERS:
            text = f"{name}({_arguments(module, node)})"
            what = f"{'reads' if name in READS else 'orders'} tokens by {text}"
            yield Fact("stream", text, module.file, node.lineno, what, "", True)


def _cut(module: Module, node: ast.Subscript) -> Iterator[Fact]:
    """Yield slices with fixed ends or steps, which leave out a part of a stream or turn it."""
    assert isinstance(node.slice, ast.Slice)
    ends = [part for part in (node.slice.lower, node.slice.upper, node.slice.step) if part]
    values = [module.names.fold(part) for part in ends]
    fixed = [value for value in values if isinstance(value, int) and abs(value) > 1]
    if fixed or node.slice.step is not None:
        text = f"[{ast.unparse(node.slice)[:60]}]"
        yield module.fact("stream", f"slice {text}", node, f"takes the part {text} of the tokens")


def _arguments(module: Module, call: ast.Call) -> str:
    parts = [shape(module, part) for part in call.args]
    parts += [f"{one.arg}={_shown(module, one.value)}" for one in call.keywords]
    return ", ".join(parts)[:100]


def _shown(module: Module, node: ast.AST) -> str:
    return module.names.dotted(node) or shape(module, node)


def _shards(module: Module) -> Iterator[Fact]:
    """Yield the names of shards, as the whole text that they are part of."""
    for kind in (ast.Constant, ast.JoinedStr):
        for node in module.of(kind):
            parent = module.names.parents.get(node)
            if isinstance(parent, ast.Expr | ast.JoinedStr | ast.FormattedValue):
                continue
            value = module.names.fold(node)
            text = value if isinstance(value, str) else _pattern(node)
            if len(text) < 300 and " " not in text and ".bin" in text and DATA.search(text):
                labels = ",".join(sorted(source_labels(module, node))) or "unknown"
                what = f"names the shards {text} ({labels})"
                yield Fact("stream", f"shards {text}", module.file, node.lineno, what, "", False)


def _pattern(node: ast.AST) -> str:
    parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return "*".join(part for part in parts if isinstance(part, str))
