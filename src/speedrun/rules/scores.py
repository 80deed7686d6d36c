"""What is done with a validation loss: a mean is taken and printed, and nothing is decided by it.

Probes show a loss that is made up or badly wrong. They show neither a print that is lowered by less
than some 0.1 nats, nor weights that were chosen by their validation loss, nor a mean of the easier
tokens. So new arithmetic of those kinds is told under rules that no probe covers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.flow import ENTROPIES
from speedrun.rules.sensitive import words

EVALUATION, PRINTED, CHOSEN = "evaluation", "printed_loss", "training_on_validation"
SCORED = frozenset({"score", "loss"})
KEEPERS = words("append extend add insert appendleft put push setdefault update heappush")
CHOOSERS = words("""
    min max sorted sort argmin argmax argsort topk kthvalue nsmallest nlargest bisect bisect_left
    bisect_right insort heappush heappop heapify where nanargmin nanargmax select choose compress
    searchsorted
    """)
# Sums, means and counts: what honest rewritings of a validation consist of.
COUNT = r"(?:\(*(?:V|len\(V\))(?: [-+] (?:1|V|len\(V\)))?\)*)"
FAIR = re.compile(
    rf"-V|\((?:V|0) \+ (?:V|0)\)|V [-+]= V|\(V / {COUNT}\)|V /= {COUNT}|\(V \* {COUNT}\)"
    rf"|\({COUNT} \* V\)|V \*= {COUNT}|\(V - V\)|V @ V|len\(V\)"
    r"|(?:[\w.]+\.)?(?:mean|sum|item|fsum|cat|stack|all_reduce|reduce|tolist|gather|split|chunk"
    r"|isfinite|isnan|zip|enumerate|range|isinstance|tuple|list|append|extend|numel|size|dim|add"
    r"|masked_fill|arange|array|asarray|concatenate|max_memory_allocated|take_along_axis)\(.*\)"
    r"|(?:[\w.]+\.)?(?:linear_)?(?:cross_entropy|nll_loss|log_softmax|logsumexp)\(.*\)"
)
FLOAT = re.compile(r"(?<![\w.])(?!0\.0\b|1\.0\b)\d+(?:\.\d+|e-?\d+)")
PART = re.compile(r"V\[(?!:?-1\]|1:\])(?:-?\d+|n)?:(?:-?(?:n|\d+))?(?::-?(?:\d+|n))?\]")
FORMATS = words("__format__ __float__ __round__ __trunc__ __floor__ __ceil__ __int__")
NUMBERS = words("float int str numpy.float64 numpy.float32 numpy.ndarray torch.Tensor")


def rule_of(text: str, node: ast.AST, scored: bool) -> str:
    """Return the rule under which a new operation on validation values is told."""
    name = text.partition("(")[0].rpartition(".")[2]
    if scored and isinstance(node, ast.Compare):
        return CHOSEN
    if scored and isinstance(node, ast.Call) and name in CHOOSERS:
        return CHOSEN if len(node.args) < 2 or name not in ("min", "max") else PRINTED
    if FLOAT.search(text) or PART.fullmatch(text):
        return PRINTED
    if not scored or text.startswith("V[") or FAIR.fullmatch(text):
        return EVALUATION
    return PRINTED


def names_called(owner: ast.AST) -> Iterator[str]:
    """Yield the last names of what a function calls."""
    for node in ast.walk(owner):
        if isinstance(node, ast.Call):
            function = node.func
            yield getattr(function, "attr", "") or getattr(function, "id", "")


def makes_losses(owner: ast.AST) -> bool:
    """Return whether a function computes log-probabilities or losses itself."""
    called = set(names_called(owner))
    return {"log", "exp"} <= called or bool(called & ENTROPIES)


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield numbers of the code's own kind, which may show as something else than they are."""
    for module in code.modules:
        for owner in module.of(ast.ClassDef):
            yield from _formats(module, owner)


def _formats(module: Module, owner: ast.ClassDef) -> Iterator[Fact]:
    methods = {one.name for one in owner.body if isinstance(one, ast.FunctionDef)}
    bases = {module.names.dotted(base) for base in owner.bases}
    shown = {"__str__", "__repr__"} if bases & NUMBERS else frozenset()
    for name in sorted(methods & (FORMATS | shown)):
        what = f"a class of its own says by {name} how its values print"
        yield module.fact(PRINTED, name, owner, what)
