"""The rule ``causality``: a token is predicted from those before it, and targets are for the loss.

Told are masks, the words that ask a kernel for one, what shifts a sequence, and what a function
that is given the targets does with them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import cast

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.flow import ENTROPIES
from speedrun.rules.folding import UNKNOWN
from speedrun.rules.sensitive import words

ASKED = words("is_causal causal")
SHIFTS = words("roll flip fliplr tril triu tril_indices triu_indices")
TARGETS = re.compile(r"^(?:targets?|labels|y|next_tokens?)(?:_(?:seq|ids?|tokens?|b|s))?$")
VIEWS = words("""
    view flatten reshape size shape numel to long int dim ndim unsqueeze squeeze contiguous device
    ravel dtype is_cuda astype type
    """)
LOSSES = ENTROPIES | words("""
    gather isinstance len take_along_dim take_along_axis detach arange zeros_like full_like
    new_zeros new_ones empty_like
    """)
CAUSAL = words("Compare(@2,GtE(),@3) Compare(@3,LtE(),@2) Compare(@2,Gt(),@3) Compare(@3,Lt(),@2)")
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield what decides which tokens a prediction sees."""
    for module in code.modules:
        for call in module.of(ast.Call):
            yield from _asked(module, call)
        for node in module.of(ast.FunctionDef):
            yield from _mask(module, node)
            yield from _targets(module, node)
        for lambda_ in module.of(ast.Lambda):
            yield from _mask(module, lambda_)


def _asked(module: Module, call: ast.Call) -> Iterator[Fact]:
    for keyword in call.keywords:
        if keyword.arg in ASKED:
            value = module.names.fold(keyword.value)
            text = f"{keyword.arg}={value if isinstance(value, bool) else '?'}"
            line, silent = call.lineno, value is True
            what = f"calls for {text}"
            yield Fact("causality", text, module.file, line, what, "", True, "", silent)
    name = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
    if name == "pad" and len(call.args) > 1:
        ends = call.args[1]
        parts = ends.elts[1::2] if isinstance(ends, ast.Tuple | ast.List) else [ends]
        if any(module.names.fold(part) != 0 for part in parts):
            yield module.fact("causality", "pads behind", call, "may pad a sequence behind its end")
    elif name in SHIFTS:
        given = [*call.args, *(one.value for one in call.keywords)]
        folded = [module.names.fold(part) for part in given]
        text = ", ".join("_" if value is UNKNOWN else repr(value)[:30] for value in folded)
        yield module.fact(
            "causality", f"{name}({text})", call, f"shifts or masks by {name}({text})"
        )


# --- masks ----------------------------------------------------------------------------------------


def _mask(module: Module, node: ast.FunctionDef | ast.Lambda) -> Iterator[Fact]:
    """Yield what a mask of (batch, head, query, key) returns, and the comparisons around it."""
    names = [one.arg for one in node.args.args if one.arg != "self"]
    if len(names) != 4 or node.args.kwonlyargs or node.args.defaults:
        return
    returned = [node.body] if isinstance(node, ast.Lambda) else _returned(node)
    plain = _Plain(names, _assigned(node))
    for one in returned:
        parts = [plain.text(part) for part in _conjuncts(one, plain.values, 0)]
        whole = " and ".join(parts)
        if "Compare" in whole and "@2" in whole and "@3" in whole and not CAUSAL & set(parts):
            what = "has a mask that does not ask for the query's place >= the key's"
            yield module.fact("causality", f"mask {whole}", one, what)
    owner = module.names.parents.get(node)
    while owner is not None and not isinstance(owner, FUNCTIONS):
        owner = module.names.parents.get(owner)
    if owner is not None and any("kv" in name for name in names):
        yield from _blocks(module, owner, names)


def _conjuncts(node: ast.expr, values: dict[str, ast.expr], depth: int) -> Iterator[ast.expr]:
    """Yield the conditions that must all hold: more of them hide more."""
    if isinstance(node, ast.Name) and node.id in values and depth < 9:
        yield from _conjuncts(values[node.id], values, depth + 1)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd) and depth < 99:
        yield from _conjuncts(node.left, values, depth + 1)
        yield from _conjuncts(node.right, values, depth + 1)
    else:
        yield node


def _blocks(module: Module, owner: ast.AST, names: list[str]) -> Iterator[Fact]:
    """Yield how whole blocks are compared: full ones are attended without a mask."""
    for compare in (one for one in ast.walk(owner) if isinstance(one, ast.Compare)):
        text = _Plain(names, {}).text(compare)
        if isinstance(compare.ops[0], ORDERS) and "Slice()" in text and "@" not in text:
            what = f"compares blocks by {text}"
            yield module.fact("causality", f"blocks {text}", compare, what)


def _returned(node: ast.FunctionDef) -> list[ast.expr]:
    every = (one.value for one in ast.walk(node) if isinstance(one, ast.Return))
    return [one for one in every if one is not None]


def _assigned(node: ast.AST) -> dict[str, ast.expr]:
    return {
        target.id: one.value
        for one in ast.walk(node)
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Name)
    }


class _Plain:
    """Texts of expressions: parameters by number, other names left out, local names followed."""

    def __init__(self, names: list[str], values: dict[str, ast.expr]) -> None:
        self.names, self.values, self.room = names, values, 200

    def text(self, node: ast.AST) -> str:
        self.room -= 1
        if self.room < 0:
            return "..."
        if isinstance(node, ast.Name):
            if node.id in self.names:
                return f"@{self.names.index(node.id)}"
            value = self.values.get(node.id)
            return self.text(value) if value is not None else "_"
        if isinstance(node, ast.Constant):
            return repr(node.value)[:30]
        if isinstance(node, ast.Attribute):
            return f"_.{node.attr}"
        kind = type(node).__name__ if not isinstance(node, ast.BinOp | ast.UnaryOp) else ""
        parts = [self.text(part) for part in ast.iter_child_nodes(node) if _telling(part)]
        return f"{kind}({','.join(parts)})"


def _telling(node: ast.AST) -> bool:
    return not isinstance(node, ast.expr_context)


# --- targets --------------------------------------------------------------------------------------


def _targets(module: Module, node: ast.FunctionDef) -> Iterator[Fact]:
    """Yield what is done with the targets where the model is given them."""
    given = {one.arg for one in node.args.args if TARGETS.match(one.arg)}
    if not given or not node.args.args or node.args.args[0].arg != "self":
        return
    for name in cast(list[ast.Name], [n for n in ast.walk(node) if isinstance(n, ast.Name)]):
        if name.id in given and isinstance(name.ctx, ast.Load):
            use = _use(module, name)
            if use:
                yield module.fact("causality", f"target {use}", name, f"uses the targets {use}")


def _use(module: Module, node: ast.AST) -> str:
    """Return what a target goes into, "" for a loss or a look at its shape."""
    above = module.names.parents.get(node)
    if isinstance(above, ast.Attribute):
        if above.attr not in VIEWS:
            return f"by .{above.attr}"
        call = module.names.parents.get(above)
        whole = call if isinstance(call, ast.Call) and call.func is above else above
        return "" if above.attr in ("shape", "ndim", "device", "dtype") else _use(module, whole)
    if isinstance(above, ast.keyword):
        above = module.names.parents.get(above)
    if isinstance(above, ast.Call):
        known = getattr(above.func, "attr", "") or getattr(above.func, "id", "")
        if known == "apply":
            known = ast.unparse(above.func)[-80:]
        fair = known in LOSSES or "loss" in known.lower() or "entropy" in known.lower()
        return "" if fair else f"in {known or 'a call'}"
    if isinstance(above, ast.Compare) and isinstance(above.ops[0], ast.Is | ast.IsNot | ast.NotEq):
        return ""
    if isinstance(above, ast.Subscript) and above.value is node:
        return _use(module, above)
    if isinstance(above, ast.If | ast.IfExp | ast.Assert):
        return ""
    return f"in {type(above).__name__}"
