"""What a call makes of its arguments' labels, and what of it is told."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from speedrun.rules.flow import ENTROPIES, PLAIN, Env, Labels, Value
from speedrun.rules.scores import KEEPERS, SCORED, makes_losses
from speedrun.rules.sensitive import words

if TYPE_CHECKING:
    from speedrun.rules.steps import Run

IN_PLACE = words("""
    add_ sub_ mul_ div_ copy_ lerp_ addcmul_ addcdiv_ index_add_ scatter_add_ set_ addmm_ index_put_
    index_copy_ scatter_ masked_scatter_ put_ baddbmm_
    """)
LEARNERS = frozenset({"torch.autograd.grad", "torch.autograd.backward", "numpy.copyto"})
SHAPES = words("""
    to cuda cpu view reshape flatten float double half bfloat16 int long contiguous detach numpy
    astype squeeze unsqueeze pin_memory clone type
    """)  # change no value but by rounding: a refactor adds and drops them
ROUNDS = words("int long short half bfloat16 byte char")
CASTS = words("to astype type float")
FINE = words("float32 float64 double float cpu cuda single device int64")
NEUTRAL = ("int", "float", "print", "next", "iter", "str", "os.", "pathlib.", "glob.", "bool")
SCORE = Value(frozenset({"score"}))


def labels_of(parts: Sequence[Value]) -> Labels:
    """Return all labels of some values."""
    return frozenset(label for part in parts for label in part.labels)


def of_validation(parts: Sequence[Value]) -> bool:
    """Return whether one of some values comes from validation tokens."""
    return any(
        part.labels & {"val", "loss"} or ("size" in part.labels and part.text != "_")
        for part in parts
    )


def called(
    run: Run,
    node: ast.Call,
    receiver: Value,
    given: list[Value],
    named: Mapping[str, Value],
    env: Env,
) -> Value:
    """Return what is known of a call's result; ``receiver`` is what a method is called on."""
    every = [*given, *named.values()]
    own = run.own_function(node.func, env)
    if own is not None:
        return run.enter(own, given, named)
    labels = labels_of([receiver, *every])
    if not labels and isinstance(node.func, ast.Attribute) and "zeros" in node.func.attr:
        return Value(text="0")
    dotted = run.module.names.dotted(node.func)
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    _learning(run, node, method, dotted, receiver, every)
    _kept(node, method or dotted.rpartition(".")[2], given, labels, env)
    if labels_of(every) & {"val", "probe"} and not receiver.labels & {"val", "probe"}:
        run.enter_methods(method, given, named)
    foreign = dotted and "()" not in dotted and dotted.rpartition(".")[0] not in run.siblings
    text = dotted if foreign else ""
    return _result(run, node, text or method, bool(text), receiver, given, named, labels)


def _result(
    run: Run,
    node: ast.Call,
    name: str,
    known: bool,
    receiver: Value,
    given: list[Value],
    named: Mapping[str, Value],
    labels: Labels,
) -> Value:
    every = [receiver, *given, *named.values()]
    entropy = name.rpartition(".")[2] in ENTROPIES
    if run.entropies and entropy:
        run.operation(node, call_text(name, given, named), every)
        return Value(labels | {"val", "score"})
    if not of_validation(every):
        return Value(labels)
    if name == "len" and known:
        run.operation(node, "len(V)")
        return Value(labels - {"score"}, "len(V)")
    rounded = bool(labels & SCORED) and (name in ROUNDS or (name in CASTS and not _fine(node)))
    if rounded:
        run.operation(node, f"rounds the loss by {name}", every)
    told = name if known else f"V.{name}" if of_validation([receiver]) and name else ""
    if told and name not in SHAPES | KEEPERS and not (known and name.startswith(NEUTRAL)):
        run.operation(node, call_text(told, given, named), every)
    made = isinstance(node.func, ast.Name) and run.is_class(node.func.id)
    model = isinstance(node.func, ast.Name) or any(
        makes_losses(own[1]) for own in run.methods.get(name, ())
    )
    return Value(
        labels | ({"score"} if entropy or (model and not known and not made) else frozenset())
    )


def _fine(node: ast.Call) -> bool:
    """Return whether a cast keeps a loss's digits: it goes by a name, not through a text."""
    given = [*node.args, *(one.value for one in node.keywords)]
    return all(
        (isinstance(part, ast.Attribute) and part.attr in FINE)
        or (isinstance(part, ast.Constant) and str(part.value) in FINE)
        or not isinstance(part, ast.Attribute | ast.Constant | ast.JoinedStr)
        for part in given
    ) and not any(_is_text(part) for part in given)


def _is_text(node: ast.AST) -> bool:
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", "") == "format" or getattr(function, "id", "") in (
        "format",
        "str",
        "repr",
    )


def call_text(name: str, given: Sequence[Value], named: Mapping[str, Value]) -> str:
    """Return a call's text without names of its own: ``numpy.mean(V, axis=1)``."""
    parts = [part.shown for part in given]
    parts += [f"{key}={value.shown}" for key, value in sorted(named.items())]
    return f"{name}({', '.join(parts)})"[:160]


def _kept(node: ast.Call, name: str, given: list[Value], labels: Labels, env: Env) -> None:
    """Label a list or dictionary with what is put into it."""
    if name not in KEEPERS or not labels_of(given) & {"val", "probe"}:
        return
    place = node.func.value if isinstance(node.func, ast.Attribute) else None
    if name == "heappush" and node.args:
        place = node.args[0]
    while isinstance(place, ast.Attribute | ast.Subscript):
        place = place.value
    if isinstance(place, ast.Name):
        env[place.id] = Value(env.get(place.id, PLAIN).labels | labels)


def _learning(
    run: Run, node: ast.Call, method: str, dotted: str, receiver: Value, given: list[Value]
) -> None:
    """Tell of gradients and in-place changes that come from validation tokens or probes."""
    tainted = any(part.labels & {"val", "probe"} for part in given)
    if run.entropies:
        return
    if method == "backward" and receiver.labels & {"val", "probe"}:
        run.watch.learned.setdefault(node, "backward of a loss on validation tokens or probes")
    elif dotted in LEARNERS and tainted:
        run.watch.learned.setdefault(node, f"{dotted} on validation tokens or probes")
    elif method in IN_PLACE and tainted and not receiver.labels & {"val", "loss", "probe"}:
        run.watch.learned.setdefault(node, f"{method} with values of validation tokens")
