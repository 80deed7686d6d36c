"""The labels and the canonical text of expressions, for the abstract run of ``steps``.

An operation on validation values becomes a text without names: ``V / (len(V) - 1)``. Renamed,
moved or split into temporaries, the same computation gives the same texts.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from speedrun.rules.calling import called, labels_of, of_validation
from speedrun.rules.defined import parameters
from speedrun.rules.flow import PLAIN, Env, Value, joined, source_labels
from speedrun.rules.folding import UNKNOWN

if TYPE_CHECKING:
    from speedrun.rules.steps import Run

LARGE = 64  # whole numbers from here on are sizes, which may be tuned: shown as n
TEXT = 90
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>", ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=",
    ast.Eq: "==", ast.NotEq: "!=", ast.USub: "-", ast.Invert: "~", ast.Not: "not ",
}  # fmt: skip
SCALARS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv)


def evaluate(run: Run, node: ast.AST | None, env: Env) -> Value:
    """Return what is known of an expression, and tell the run's watch of its operations."""
    if node is None or not run.spend():
        return PLAIN
    handler = HANDLERS.get(type(node))
    if handler is not None:
        return handler(run, node, env)
    parts = [evaluate(run, part, env) for part in ast.iter_child_nodes(node)]
    return Value(labels_of(parts))


def constant_text(value: object) -> str:
    """Return a constant's text; sizes are all alike."""
    if isinstance(value, bool) or value is None or isinstance(value, str | float):
        return repr(value)[:40]
    if isinstance(value, int):
        return "n" if abs(value) >= LARGE else str(value)
    return "_"


def _constant(run: Run, node: ast.AST, env: Env) -> Value:
    labels = source_labels(run.module, node)
    value = getattr(node, "value", None)
    return Value(labels, str(value) if "size" in labels else constant_text(value))


def _name(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.Name)
    if node.id in env:
        return env[node.id]
    value = run.module.names.fold(node)
    if value is UNKNOWN:
        return run.globals.get(node.id, PLAIN)
    labels = source_labels(run.module, node)
    return Value(labels, str(value) if labels and isinstance(value, int) else constant_text(value))


def _attribute(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.Attribute)
    labels = source_labels(run.module, node)
    place = ast.unparse(node) if isinstance(node.value, ast.Name) else ""
    if place in env:
        return Value(labels | env[place].labels)
    if labels:
        value = run.module.names.fold(node)
        return Value(labels, str(value) if isinstance(value, int) else "_")
    base = evaluate(run, node.value, env)
    dotted = "" if base.labels else run.module.names.dotted(node)
    return Value(base.labels, dotted if dotted and "()" not in dotted else "_")


def _binary(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.BinOp)
    parts = [evaluate(run, node.left, env), evaluate(run, node.right, env)]
    folded = run.module.names.fold(node)
    if folded is not UNKNOWN:
        return Value(labels_of(parts) | source_labels(run.module, node), constant_text(folded))
    if isinstance(node.op, ast.Add | ast.Mult):
        parts.sort(key=lambda part: part.shown)
    text = f"({parts[0].shown} {OPERATORS[type(node.op)]} {parts[1].shown})"
    labels = labels_of(parts) | source_labels(run.module, node)
    if of_validation(parts):
        run.operation(node, text, parts)
    scalar = isinstance(node.op, SCALARS) and len(text) < TEXT and _number(node, text, parts)
    return Value(labels, text if scalar else "_")


def _number(node: ast.BinOp, text: str, parts: list[Value]) -> bool:
    """Return whether a result is a place or a length, whose text is kept: ``start + 1``."""
    if "len(" in text or any("size" in part.labels for part in parts):
        return True
    return isinstance(node.op, ast.Add | ast.Sub) and any(part.text.isdigit() for part in parts)


def _unary(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.UnaryOp)
    folded = run.module.names.fold(node)
    part = evaluate(run, node.operand, env)
    if folded is not UNKNOWN:
        return Value(part.labels, constant_text(folded))
    if of_validation([part]):
        run.operation(node, f"{OPERATORS.get(type(node.op), '+')}{part.shown}", [part])
    return Value(part.labels)


def _compare(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.Compare)
    parts = [evaluate(run, part, env) for part in (node.left, *node.comparators)]
    if of_validation(parts) and not isinstance(node.ops[0], ast.Is | ast.IsNot):
        signs = [OPERATORS.get(type(one), type(one).__name__) for one in node.ops]
        text = parts[0].shown
        for sign, part in zip(signs, parts[1:], strict=True):
            text += f" {sign} {part.shown}"
        run.operation(node, text, parts)
    return Value(labels_of(parts))


def _subscript(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.Subscript)
    base = evaluate(run, node.value, env)
    index = _index(run, node.slice, env)
    if of_validation([base]):
        run.operation(node, f"V[{index.text}]", [base])
    return Value(base.labels | index.labels)


def _index(run: Run, node: ast.AST, env: Env) -> Value:
    if isinstance(node, ast.Slice):
        ends = [node.lower, node.upper, *([node.step] if node.step else [])]
        parts = [evaluate(run, part, env) if part else Value(text="") for part in ends]
        return Value(labels_of(parts), ":".join(part.shown if part.text else "" for part in parts))
    if isinstance(node, ast.Tuple):
        parts = [_index(run, part, env) for part in node.elts]
        return Value(labels_of(parts), ", ".join(part.text for part in parts))
    value = evaluate(run, node, env)
    return Value(value.labels, value.shown)


def _call(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.Call)
    given = [evaluate(run, part, env) for part in node.args]
    named = {one.arg or "**": evaluate(run, one.value, env) for one in node.keywords}
    receiver = PLAIN
    if isinstance(node.func, ast.Attribute):
        receiver = evaluate(run, node.func.value, env)
    return called(run, node, receiver, given, named, env)


def _choice(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.IfExp)
    run.condition(node.test, evaluate(run, node.test, env))
    value = joined([evaluate(run, node.body, env), evaluate(run, node.orelse, env)])
    if run.entropies or of_validation([value]):
        texts = [evaluate(run, part, env).shown for part in (node.body, node.orelse)]
        return Value(value.labels, f"({texts[0]} if _ else {texts[1]})"[:TEXT])
    return value


def _comprehension(run: Run, node: ast.AST, env: Env) -> Value:
    inner = dict(env)
    for generator in node.generators:  # type: ignore[attr-defined]
        run.assign(generator.target, evaluate(run, generator.iter, inner), inner)
        for test in generator.ifs:
            evaluate(run, test, inner)
    parts = [getattr(node, name) for name in ("elt", "key", "value") if hasattr(node, name)]
    return Value(labels_of([evaluate(run, part, inner) for part in parts]))


def _named(run: Run, node: ast.AST, env: Env) -> Value:
    assert isinstance(node, ast.NamedExpr)
    value = evaluate(run, node.value, env)
    run.assign(node.target, value, env)
    return value


def _yielded(run: Run, node: ast.AST, env: Env) -> Value:
    value = evaluate(run, getattr(node, "value", None), env)
    run.returned.append(value)
    return PLAIN


def _lambda(run: Run, node: ast.AST, env: Env) -> Value:
    """Read a lambda where it is made: it may look at the values around it."""
    assert isinstance(node, ast.Lambda)
    return Value(evaluate(run, node.body, env | parameters(node)).labels)


def _text(run: Run, node: ast.AST, env: Env) -> Value:
    parts = [evaluate(run, part, env) for part in ast.iter_child_nodes(node)]
    return Value(source_labels(run.module, node) | labels_of(parts))


HANDLERS = {
    ast.Constant: _constant, ast.Name: _name, ast.Attribute: _attribute, ast.BinOp: _binary,
    ast.UnaryOp: _unary, ast.Compare: _compare, ast.Subscript: _subscript, ast.Call: _call,
    ast.IfExp: _choice, ast.ListComp: _comprehension, ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension, ast.DictComp: _comprehension, ast.NamedExpr: _named,
    ast.Yield: _yielded, ast.YieldFrom: _yielded, ast.Lambda: _lambda, ast.JoinedStr: _text,
}  # fmt: skip
