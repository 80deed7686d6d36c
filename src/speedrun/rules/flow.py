"""Where values come from: an abstract run of the code that carries labels instead of numbers.

Labels: ``val`` (validation tokens and all that is computed from them), ``size`` (the number of
them), ``train``, ``probe``, ``score`` (what a model or a loss made of validation tokens) and
``loss`` (the printed validation loss). Statements run in order, so
that a name used for both kinds of batch is told apart; branches are joined, loops run twice, the
solution's own functions are entered with their arguments' labels (CALLS deep). Not followed:
methods, containers of functions, values kept in an object's fields between calls.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from speedrun.rules.code import Module
from speedrun.rules.folding import UNKNOWN
from speedrun.rules.sensitive import words

CALLS = 4
BUDGET = 60_000  # expressions looked at in one module; the largest record needs some 15,000
VAL_TOKENS = frozenset({10485760, 10420224})  # lengths of nanogpt's validation stream
VAL = re.compile(r"(?:^|[/_*.-])val(?:[/_*.-]|idation|$)", re.IGNORECASE)
TRAIN = re.compile(r"(?:^|[/_*.-])train(?:[/_*.-]|$)", re.IGNORECASE)
DATA = re.compile(r"\.bin\b|\.npy\b|^data/|\*")
VAL_FIELD = re.compile(r"^(?:input_)?val_(?:bin|files|data|path)$|^(?:input_)?val_bin$")
TRAIN_FIELD = re.compile(r"^(?:input_)?train_(?:bin|files|data|path)$|^input_bin$")
ENTROPIES = words(
    "cross_entropy nll_loss CrossEntropyLoss NLLLoss linear_cross_entropy log_softmax logsumexp"
)
Labels = frozenset[str]
NONE: Labels = frozenset()


@dataclass(frozen=True)
class Value:
    """What is known of a value: its labels and, of simple arithmetic, its canonical text."""

    labels: Labels = NONE
    text: str = "_"

    @property
    def shown(self) -> str:
        """Return the text, ``V`` for what comes from validation tokens."""
        return "V" if self.text == "_" and self.labels & {"val", "loss"} else self.text


Env = dict[str, Value]
PLAIN = Value()


class Place(NamedTuple):
    """Where an operation stands, and whether it has to do with a loss rather than with tokens."""

    file: str
    owner: ast.AST | None
    scored: bool


@dataclass
class Watch:
    """What an abstract run saw. Nodes are told once, in whatever context they were reached."""

    operations: dict[tuple[ast.AST, str], Place] = field(default_factory=dict)
    learned: dict[ast.AST, str] = field(default_factory=dict)  # from validation tokens
    decided: dict[ast.AST, str] = field(default_factory=dict)  # conditions on the loss
    entered: dict[ast.AST, set[Labels]] = field(default_factory=dict)  # functions and labels


def source_labels(module: Module, node: ast.AST) -> Labels:
    """Return the labels that a constant or a field gives: the names of the shards."""
    value = module.names.fold(node)
    if isinstance(node, ast.Attribute) and node.attr == "val_tokens":
        return frozenset({"size"})
    texts: list[object] = [value]
    if isinstance(node, ast.Attribute) and value is UNKNOWN:
        fields = module.names.fields.get(node.attr, [])
        texts = [module.names.fold(part) for part in fields]
        if VAL_FIELD.match(node.attr):
            return frozenset({"val"})
        if TRAIN_FIELD.match(node.attr):
            return frozenset({"train"})
    if isinstance(node, ast.JoinedStr | ast.BinOp) and value is UNKNOWN:
        texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return frozenset(label for text in texts for label in _of_text(text))


def _of_text(text: object) -> Iterable[str]:
    if isinstance(text, int) and not isinstance(text, bool) and text in VAL_TOKENS:
        yield "size"
    if not isinstance(text, str) or len(text) > 300 or " " in text or not DATA.search(text):
        return
    if "probe" in text and "logits" not in text:
        yield "probe"
    elif VAL.search(text):
        yield "val"
    elif TRAIN.search(text):
        yield "train"


def joined(values: Iterable[Value]) -> Value:
    """Return what is known of one of several values."""
    every = list(values)
    labels = frozenset(label for value in every for label in value.labels)
    texts = {value.text for value in every}
    return Value(labels, texts.pop() if len(texts) == 1 else "_")


def merge(first: Env, second: Env) -> Env:
    """Return the names after either of two branches."""
    names = first.keys() | second.keys()
    return {name: joined([env[name] for env in (first, second) if name in env]) for name in names}
