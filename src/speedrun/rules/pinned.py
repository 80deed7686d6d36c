"""The rules ``evaluation``, ``training_on_validation`` and ``target``, by an abstract run.

Evaluation: every operation on values that come from validation tokens, as texts without names; what
is new and what is gone against the start is told. Functions that training uses as well are the
model's and free, unless they read shards or hold the loss.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import cast

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.defined import Function
from speedrun.rules.flow import ENTROPIES, Watch
from speedrun.rules.output import loss_names
from speedrun.rules.scores import names_called, rule_of
from speedrun.rules.sensitive import words
from speedrun.rules.steps import Run

READS = words("fromfile memmap frombuffer readinto from_file from_buffer")
NEAR = 0.05  # nats per token: constants this near to the target


def facts(code: Code, target_loss: float | None) -> Iterator[Fact]:
    """Yield what is computed from validation tokens, learned from them or decided by them."""
    told: set[str] = set()
    for module in code.modules:
        watch = Run(module, code.modules, losses=loss_names(module)).whole()
        yield from _evaluation(watch, told)
        yield from _learned(module, watch)
        yield from _losses(module, told)
        if target_loss is not None:
            yield from _near(module, target_loss)


def _evaluation(watch: Watch, told: set[str]) -> Iterator[Fact]:
    for (node, text), place in watch.operations.items():
        if text not in told and not (place.owner is not None and _shared(watch, place.owner)):
            told.add(text)
            yield _pinned(place.file, node, text, rule_of(text, node, place.scored))


def _pinned(file: str, node: ast.AST, text: str, told_as: str) -> Fact:
    line = getattr(node, "lineno", 0)
    what = f"computes {text} in the validation"
    return Fact("evaluation", text, file, line, what, "", True, told_as)


def _shared(watch: Watch, owner: ast.AST) -> bool:
    """Return whether a function is the model's: training enters it, and it reads no shards."""
    labels = watch.entered.get(owner, set())
    if not any("train" in one and "val" not in one for one in labels):
        return False
    called = set(names_called(owner))
    return not (called & READS or {"log", "exp"} <= called or called & ENTROPIES)


def _learned(module: Module, watch: Watch) -> Iterator[Fact]:
    for node, what in watch.learned.items():
        yield module.fact("training_on_validation", what, node, what)
    for node, what in watch.decided.items():
        yield module.fact("target", what, node, what)


def _losses(module: Module, told: set[str]) -> Iterator[Fact]:
    """Yield what becomes of cross-entropies in functions that do not train themselves."""
    for kind in (ast.FunctionDef, ast.AsyncFunctionDef):
        for function in cast(list[Function], module.of(kind)):
            called = set(names_called(function))
            if not called & ENTROPIES or "backward" in called:
                continue
            for node, text_ in _followed(module, function):
                text = f"loss: {text_}"
                if text not in told:
                    told.add(text)
                    yield _pinned(module.file, node, text, rule_of(text_, node, True))


def _followed(module: Module, function: Function) -> Iterator[tuple[ast.AST, str]]:
    run = Run(module, entropies=True)
    run.block(function.body, {})
    yield from run.watch.operations


def _near(module: Module, target_loss: float) -> Iterator[Fact]:
    for compare in module.of(ast.Compare):
        for part in (compare.left, *compare.comparators):
            value = module.names.fold(part)
            if isinstance(value, float) and abs(value - target_loss) < NEAR:
                what = f"compares with {value:g}, near the target"
                yield module.fact("target", f"compares with {value:g}", compare, what)
