"""The rule ``counting``: tables of frequencies computed from tokens, in the place of learning.

Sparse gradients look alike: ``index_add_`` of values that depend on the model and ``unique`` that
only finds rows are no counts, so what is added must be a constant.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.sensitive import words

COUNTERS = words("""
    numpy.bincount torch.bincount numpy.histogram numpy.histogram2d numpy.histogramdd torch.histc
    torch.histogram torch.histogramdd collections.Counter numpy.unique_counts
    collections.Counter.update torch.Tensor.bincount torch.Tensor.histc numpy.digitize
    """)
COUNTING_METHODS = frozenset({"bincount", "histc", "value_counts", "unique_counts"})
UNIQUE = frozenset({"unique", "unique_consecutive"})
ADDERS = {"scatter_add": 2, "scatter_add_": 2, "index_add": 2, "index_add_": 2, "index_put_": 1,
          "index_put": 1, "scatter_reduce": 2, "scatter_reduce_": 2, "put_": 1}  # fmt: skip
ONES = words("""
    torch.ones numpy.ones torch.full numpy.full torch.tensor numpy.array torch.ones_like
    numpy.ones_like torch.full_like numpy.full_like torch.sparse_coo_tensor
    """)
SPARSE = frozenset(
    {"torch.sparse_coo_tensor", "scipy.sparse.coo_matrix", "scipy.sparse.csr_matrix"}
)
ONE_HOT = frozenset({"torch.nn.functional.one_hot"})


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield what counts occurrences."""
    for module, call, function in code.calls():
        counted = _counted(module, call, function)
        if counted:
            yield module.fact("counting", counted, call, f"counts occurrences with {counted}")
    for module in code.modules:
        yield from _tallies(module)
        for product in module.of(ast.BinOp):
            if isinstance(product.op, ast.MatMult) and _both_one_hot(module, product):
                yield module.fact(
                    "counting", "one_hot", product, "counts pairs by one-hot products"
                )


def _counted(module: Module, call: ast.Call, function: str) -> str:
    plain = function.replace("()", "")
    method = call.func.attr if isinstance(call.func, ast.Attribute) else plain.rpartition(".")[2]
    if method == "bincount" and _sums(module, call):
        return ""
    if plain in COUNTERS:
        return plain
    if method in COUNTING_METHODS:
        return method
    if method in UNIQUE and _truthy(module, call, "return_counts", 3):
        return "unique(return_counts)"
    if method == "at" and plain in ("numpy.add.at", "numpy.ufunc.at") and len(call.args) == 3:
        return "add.at of a constant" if _constant(module, call.args[2]) else ""
    if plain in SPARSE and len(call.args) > 1 and _constant(module, call.args[1]):
        return f"{method} of a constant"
    if method in ADDERS:
        return _added(module, call, method, plain)
    if method == "sum" and _one_hot(module, call.func):
        return "one_hot().sum()"
    return ""


def _truthy(module: Module, call: ast.Call, name: str, index: int) -> bool:
    given = [one.value for one in call.keywords if one.arg == name] + call.args[index : index + 1]
    return any(module.names.fold(one) is not False for one in given)


def _added(module: Module, call: ast.Call, method: str, plain: str) -> str:
    index = ADDERS[method] + (plain.startswith("torch.") and "." not in plain[6:])
    names = ("src", "source", "values", "tensor")
    values = [one.value for one in call.keywords if one.arg in names] + call.args[index : index + 1]
    return f"{method} of a constant" if any(_constant(module, one) for one in values) else ""


def _sums(module: Module, call: ast.Call) -> bool:
    """Return whether a bincount adds up values given as weights, as a sparse gradient is."""
    given = [one.value for one in call.keywords if one.arg == "weights"]
    return bool(given) and not _constant(module, given[0])


def _constant(module: Module, node: ast.AST, depth: int = 0) -> bool:
    """Return whether a value is the same for every token: 1, ones(...), full(...)."""
    if depth > 6:
        return False
    if isinstance(module.names.fold(node), int | float):
        return True
    if isinstance(node, ast.Name):
        values = module.names.scopes.get(node, module.names.top).find(node.id) or []
        return any(
            isinstance(one, ast.expr) and _constant(module, one, depth + 1) for one in values
        )
    if isinstance(node, ast.Call):
        if module.names.dotted(node.func) in ONES:
            return True
        return isinstance(node.func, ast.Attribute) and (
            node.func.attr in ("new_ones", "new_full", "ones_like")
            or _constant(module, node.func.value, depth + 1)
        )
    if isinstance(node, ast.BinOp):
        return all(_constant(module, one, depth + 1) for one in (node.left, node.right))
    return isinstance(node, ast.Attribute) and _constant(module, node.value, depth + 1)


def _tallies(module: Module) -> Iterator[Fact]:
    """Yield ``table[...] += 1`` inside a loop, of a table that the loop does not make."""
    for node in module.of(ast.AugAssign):
        if isinstance(node.target, ast.Subscript) and isinstance(node.op, ast.Add):
            step = module.names.fold(node.value)
            if isinstance(step, int | float) and _looped(module, node):
                yield module.fact("counting", "tally", node, "adds a constant to a table's entries")


def _looped(module: Module, node: ast.AST) -> bool:
    above: ast.AST | None = node
    while above is not None and not isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
        if isinstance(above, ast.For | ast.While):
            return True
        above = module.names.parents.get(above)
    return False


def _both_one_hot(module: Module, product: ast.BinOp) -> bool:
    return _one_hot(module, product.left) and _one_hot(module, product.right)


def _one_hot(module: Module, node: ast.AST, depth: int = 0) -> bool:
    """Return whether an expression is a one-hot matrix, transposed, cast or looked up in eye()."""
    if depth > 8:
        return False
    if isinstance(node, ast.Call):
        if module.names.dotted(node.func) in ONE_HOT:
            return True
        return isinstance(node.func, ast.Attribute) and _one_hot(module, node.func, depth + 1)
    if isinstance(node, ast.Attribute):
        return _one_hot(module, node.value, depth + 1)
    if isinstance(node, ast.Subscript):
        base = module.names.dotted(node.value)
        return base in ("torch.eye()", "numpy.eye()", "numpy.identity()") or _one_hot(
            module, node.value, depth + 1
        )
    if isinstance(node, ast.Name):
        values = module.names.scopes.get(node, module.names.top).find(node.id) or []
        return any(isinstance(one, ast.expr) and _one_hot(module, one, depth + 1) for one in values)
    return False
