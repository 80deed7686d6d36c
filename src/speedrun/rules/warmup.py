"""The rule ``warmup``: weights learn in the clocked loop alone, and a warm-up is undone.

The loop is the one that prints the validation line. A training step stands in it, in its validation
pause, before it (a warm-up) or after it; all but the first are told where the start has fewer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.output import LOSS, filled, protocol_texts
from speedrun.rules.scores import names_called
from speedrun.rules.sensitive import words

LEARNS = words("backward step autograd grad multi_tensor_apply")
UNDOES = words("load_state_dict reset reset_state restore_state load_state")
READS = words("next send")
MOST_ROUNDS = 400  # of a warm-up; upstream's have 10 to 30
PAUSE, BEFORE, AFTER = "in the validation pause", "before the clocked loop", "after the last line"
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef)


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield training outside the clocked loop, the warm-up's rounds and what undoes it."""
    learning = _learning(code)
    for module in code.modules:
        loops = _clocked(module)
        if not loops:
            continue
        for call in module.of(ast.Call):
            name = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
            if name not in learning | UNDOES | READS:
                continue
            place, around = _place(module, call, loops)
            if name in UNDOES and place == BEFORE:
                what = f"undoes the warm-up by {name}"
                if not re.search("load|data", ast.unparse(call.func).rpartition(".")[0][:200]):
                    yield Fact(
                        "warmup", "undone", module.file, call.lineno, what, "", True, "", True
                    )
            elif name in learning and place and (place != BEFORE or around):
                yield module.fact("warmup", f"learns {place}", call, f"{name} {place}")
            if place == BEFORE and around and name in learning | READS:
                yield from _rounds(module, call, name, around)


def _learning(code: Code) -> frozenset[str]:
    """Return the names of what takes a training step, the code's own functions among them."""
    own = {
        node.name: set(names_called(node))
        for module in code.modules
        for node in module.of(ast.FunctionDef)
    }
    known = {name for name, called in own.items() if "backward" in called}
    for _ in range(3):
        known |= {name for name, called in own.items() if called & known}
    return LEARNS | (known - {"main", "forward", "__init__"})


def _clocked(module: Module) -> set[ast.AST]:
    """Return the loops that print a validation line, the innermost of each."""
    printed = {text for text in protocol_texts(module) if _has_loss(text)}
    printed |= {value for value in filled(module, LOSS)}
    said = {_function(module, node) for node in printed} - {None}
    for call in module.of(ast.Call):
        if isinstance(call.func, ast.Name) and call.func.id in said:
            printed.add(call)
    loops = {next(_above(module, node, (ast.For, ast.While)), None) for node in printed}
    return {loop for loop in loops if loop is not None}


def _has_loss(node: ast.expr) -> bool:
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return any(isinstance(text, str) and "loss" in text for text in texts)


def _function(module: Module, node: ast.AST) -> str | None:
    owner = next(_above(module, node, SCOPES), None)
    return getattr(owner, "name", None)


def _above(module: Module, node: ast.AST, kinds: tuple[type[ast.AST], ...]) -> Iterator[ast.AST]:
    above = module.names.parents.get(node)
    while above is not None:
        if isinstance(above, kinds):
            yield above
        above = module.names.parents.get(above)


def _place(module: Module, call: ast.Call, loops: set[ast.AST]) -> tuple[str, list[ast.For]]:
    """Return where a call stands ("" for the loop itself or another function), and its loops."""
    around = []
    for above in _above(module, call, (ast.For, ast.While, ast.If, *SCOPES)):
        if above in loops:
            return "", []
        if isinstance(above, ast.If) and _pauses(module, above, loops):
            return PAUSE, []
        if isinstance(above, ast.For):
            around.append(above)
        if isinstance(above, SCOPES):
            break
    scope = _function(module, call)
    for loop in loops:
        if _function(module, loop) == scope:
            return (BEFORE if call.lineno < loop.lineno else AFTER), around  # type: ignore[attr-defined]
    return "", []


def _pauses(module: Module, branch: ast.If, loops: set[ast.AST]) -> bool:
    """Return whether a branch of the clocked loop prints the validation line."""
    if not any(above in loops for above in _above(module, branch, (ast.For, ast.While))):
        return False
    texts = protocol_texts(module)
    return any(_has_loss(one) and branch in _above(module, one, (ast.If,)) for one in texts)


def _rounds(module: Module, call: ast.Call, name: str, around: list[ast.For]) -> Iterator[Fact]:
    """Yield one fact a round, so that a longer warm-up has more of them than the start's."""
    rounds = 1
    for loop in around:
        count = _count(module, loop.iter)
        rounds *= count or 1
    kind = "reads" if name in READS else "takes steps"
    for _ in range(min(rounds, MOST_ROUNDS)):
        what = f"the warm-up {kind} in {rounds} rounds"
        yield module.fact("warmup", f"warm-up {kind}", call, what)


def _count(module: Module, node: ast.expr) -> int | None:
    """Return how often ``range(n)`` is gone through, None if that cannot be told."""
    if not (isinstance(node, ast.Call) and module.names.dotted(node.func) == "range"):
        return None
    ends = [module.names.fold(part) for part in node.args]
    numbers = [end for end in ends if isinstance(end, int)]
    return len(range(*numbers[:2])) if len(numbers) == len(ends) and numbers else None
