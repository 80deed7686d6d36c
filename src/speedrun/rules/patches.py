"""What of a library is replaced by the candidate's own: ``timers``, ``printed_loss``, ``dynamic``.

Assignments to an imported module's names, by any road: ``t.perf_counter = f``, ``setattr``,
``__dict__``, ``mock.patch``, a name of the code's own that takes an imported one's place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from speedrun.rules.catalogue import REVIEW
from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.sensitive import CLOCKS, nearest

GUARDED = {name: "timers" for name in CLOCKS}
PRINTED = (
    *("print", "sys.stdout", "sys.__stdout__", "sys.stderr", "logging", "numpy", "math"),
    *("torch.nn.functional", "torch.nn.CrossEntropyLoss", "torch.Tensor"),
)
CONFIGURED = ("torch.backends", "torch._inductor", "torch._dynamo", "os.environ", "torch._C")
PATCHERS = frozenset({"unittest.mock.patch", "mock.patch", "unittest.mock.patch.object"})


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield every replacement of something that is not the code's own."""
    for module in code.modules:
        for node, dotted, value in assignments(module):
            if "()" not in dotted or "Event()" in dotted:  # an instance's fields are its own
                yield from _judged(module, node, dotted.replace("()", ""), value)
        yield from _shadowed(module)


def assignments(module: Module) -> Iterator[tuple[ast.AST, str, ast.expr | None]]:
    """Yield (node, dotted name, value) of all assignments to names that were imported."""
    for target, value in _targets(module):
        if isinstance(target, ast.Attribute | ast.Subscript):
            dotted = module.names.dotted(target)
            if dotted:
                yield target, dotted, value
    for call in module.of(ast.Call):
        yield from _assigning(module, call)


def _targets(module: Module) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    for node in module.of(ast.Assign):
        for target in node.targets:
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            for part in parts:
                yield part, node.value if len(parts) == 1 else None
    for one in module.of(ast.AugAssign):
        yield one.target, one.value
    for other in module.of(ast.AnnAssign):
        yield other.target, other.value
    for loop in module.of(ast.For):
        yield loop.target, None
    for item in module.of(ast.comprehension):
        yield item.target, None
    for gone in module.of(ast.Delete):
        for part in gone.targets:
            yield part, None


def _assigning(module: Module, call: ast.Call) -> Iterator[tuple[ast.AST, str, ast.expr | None]]:
    function = module.names.dotted(call.func)
    fold = module.names.fold
    if function in PATCHERS or function.endswith(".setattr") or function == "setattr":
        arguments = call.args
        first = fold(arguments[0]) if arguments else None
        if isinstance(first, str):
            yield call, first, arguments[1] if len(arguments) > 1 else None
        elif len(arguments) > 1:
            name, base = fold(arguments[1]), module.names.dotted(arguments[0])
            if base and isinstance(name, str):
                yield call, f"{base}.{name}", arguments[2] if len(arguments) > 2 else None
    elif function.endswith((".__dict__.update", ".__setattr__", ".__dict__.__setitem__")):
        base = function.rsplit(".__", 2 if "__dict__" in function else 1)[0]
        name = fold(call.args[0]) if call.args else ""
        yield call, f"{base}.{name}" if isinstance(name, str) else f"{base}.?", None


def _judged(module: Module, node: ast.AST, dotted: str, value: ast.expr | None) -> Iterator[Fact]:
    if nearest(dotted, GUARDED):
        yield module.fact("timers", dotted, node, f"replaces {dotted}")
    elif dotted.startswith(PRINTED):
        yield module.fact("printed_loss", f"replaces {dotted}", node, f"replaces {dotted}")
    elif "." in dotted and not (dotted.startswith(CONFIGURED) or isinstance(value, ast.Constant)):
        yield module.fact("dynamic", f"replaces {dotted}", node, f"replaces {dotted}", REVIEW)


def _shadowed(module: Module) -> Iterator[Fact]:
    """Yield the code's own definitions that take a clock's or print's place in its module."""
    for name, values in module.names.top.values.items():
        own = [value for value in values if value == "" or isinstance(value, ast.Lambda)]
        if name == "print" and values:
            node = _definition(module, name)
            yield module.fact("printed_loss", "replaces print", node, "has a print of its own")
            continue
        clocks = [value for value in values if isinstance(value, str) and nearest(value, GUARDED)]
        if clocks and len(own) + _foreign(module, values):
            node, what = (
                _definition(module, name),
                f"has its own {name} in the place of {clocks[0]}",
            )
            yield module.fact("timers", clocks[0], node, what)


def _foreign(module: Module, values: list[ast.expr | str]) -> int:
    """Return how many values are expressions of the code's own."""
    return sum(isinstance(value, ast.expr) and not module.names.dotted(value) for value in values)


def _definition(module: Module, name: str) -> ast.AST:
    for kind in (ast.FunctionDef, ast.ClassDef):
        for node in module.of(kind):
            if node.name == name:  # type: ignore[attr-defined]
                return node
    for found in module.of(ast.Name):
        if found.id == name and isinstance(found.ctx, ast.Store):
            return found
    return module.names.tree
