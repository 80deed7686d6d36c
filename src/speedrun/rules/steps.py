"""The abstract run itself: statements in order, own functions entered with their labels."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from speedrun.rules.defined import Defined, Function, Own, parameters
from speedrun.rules.evaluate import OPERATORS, evaluate
from speedrun.rules.flow import (
    BUDGET,
    CALLS,
    PLAIN,
    Env,
    Labels,
    Place,
    Value,
    Watch,
    joined,
    merge,
)
from speedrun.rules.scores import SCORED, makes_losses

LOSS = Value(frozenset({"loss"}))
MOST_METHODS = 8  # of one name


@dataclass
class Run(Defined):
    """One module's abstract run."""

    losses: frozenset[str] = frozenset()  # names that are printed as the validation loss
    entropies: bool = False  # follow the results of cross-entropies instead of the shards
    watch: Watch = field(default_factory=Watch)
    globals: Env = field(default_factory=dict)
    returned: list[Value] = field(default_factory=list)
    stack: list[ast.AST] = field(default_factory=list)
    spent: int = 0
    seen: dict[tuple[ast.AST, tuple[Labels, ...]], Value] = field(default_factory=dict)

    def whole(self) -> Watch:
        """Run the module's statements; functions are entered where they are called."""
        self.block(self.module.names.tree.body, self.globals)
        return self.watch

    def spend(self) -> bool:
        """Return whether there is budget left for one more expression."""
        self.spent += 1
        return self.spent < BUDGET

    def operation(self, node: ast.AST, text: str, values: Iterable[Value] = ()) -> None:
        """Note an operation on values that come from validation tokens."""
        owner = self.stack[-1] if self.stack else None
        scored = any(value.labels & SCORED for value in values)
        self.watch.operations.setdefault((node, text), Place(self.module.file, owner, scored))

    def condition(self, node: ast.AST, value: Value) -> None:
        """Note a condition that depends on the validation loss."""
        if value.labels & SCORED and not self.entropies:
            self.watch.decided.setdefault(node, "a condition depends on the validation loss")

    # --- functions --------------------------------------------------------------------------

    def enter_methods(self, name: str, given: Sequence[Value], named: Mapping[str, Value]) -> None:
        """Run the own methods that a call may mean; of what object it is cannot be told."""
        for own in self.methods.get(name, ())[:MOST_METHODS]:
            self.enter(own, [PLAIN, *given], named)

    def enter(self, own: Own, given: Sequence[Value], named: Mapping[str, Value]) -> Value:
        """Run a function with its arguments' labels; return what is known of its result."""
        module, function, around = own
        every = [*given, *named.values()]
        labels = frozenset(label for value in every for label in value.labels)
        self.watch.entered.setdefault(function, set()).add(labels)
        key = (function, tuple(value.labels for value in every))
        if key in self.seen:
            return self.seen[key]
        if function in self.stack or len(self.stack) >= CALLS:
            return Value(labels)
        self.seen[key] = Value(labels)  # of a call of itself
        env = around | self._arguments(function, given, named)
        kept, self.returned = self.returned, []
        here, self.module = self.module, module
        self.stack.append(function)
        self.block(function.body, env)
        self.stack.pop()
        self.module = here
        result = joined(self.returned) if self.returned else PLAIN
        if "val" in result.labels and makes_losses(function):
            result = Value(result.labels | {"score"}, result.text)
        self.returned = kept
        self.seen[key] = result
        return result

    def _arguments(
        self, function: Function, given: Sequence[Value], named: Mapping[str, Value]
    ) -> Env:
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        env = parameters(function)
        env |= dict(zip(names, given, strict=False))
        rest = list(given[len(names) :])
        if function.args.vararg:
            env[function.args.vararg.arg] = joined(rest) if rest else PLAIN
        if function.args.kwarg and named:
            env[function.args.kwarg.arg] = joined(named.values())
        return env | {name: value for name, value in named.items() if name in env}

    # --- statements -------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt], env: Env) -> None:
        """Run statements in order, in place on ``env``."""
        for statement in body:
            self.statement(statement, env)

    def statement(self, node: ast.stmt, env: Env) -> None:
        """Run one statement."""
        if isinstance(node, ast.Assign):
            value = evaluate(self, node.value, env)
            for target in node.targets:
                self._pairs(target, node.value, value, env)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.assign(node.target, evaluate(self, node.value, env), env)
        elif isinstance(node, ast.AugAssign):
            self._augmented(node, env)
        elif isinstance(node, ast.For | ast.AsyncFor):
            if isinstance(node.iter, ast.Call):
                told = [self._named(part, env) for part in node.iter.args]
                if self.module.names.dotted(node.iter.func) == "range" and told:
                    self.condition(node.iter, Value(frozenset().union(*told)))
            self._loop(node, evaluate(self, node.iter, env), env)
        elif isinstance(node, ast.While):
            self.condition(node.test, evaluate(self, node.test, env))
            self._loop(node, PLAIN, env)
        elif isinstance(node, ast.If):
            self._branches(node, env)
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                value = evaluate(self, item.context_expr, env)
                if item.optional_vars is not None:
                    self.assign(item.optional_vars, value, env)
            self.block(node.body, env)
        elif isinstance(node, ast.Try):
            for part in (node.body, *(one.body for one in node.handlers), node.orelse):
                self.block(part, env)
            self.block(node.finalbody, env)
        else:
            self._other(node, env)

    def _other(self, node: ast.stmt, env: Env) -> None:
        if isinstance(node, Function):
            if self.stack or env is not self.globals:
                self.inner[node.name] = (self.module, node, env)
        elif isinstance(node, ast.Return):
            self.returned.append(evaluate(self, node.value, env))
        elif isinstance(node, ast.Assert):
            if any(isinstance(part, ast.NamedExpr) for part in ast.walk(node)):
                evaluate(self, node.test, env)
            self.condition(node.test, Value(self._named(node.test, env)))
        elif isinstance(node, ast.Expr | ast.Raise | ast.Match):
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.expr):
                    evaluate(self, part, env)
                elif isinstance(part, ast.match_case):
                    self.block(part.body, env)

    @staticmethod
    def _named(node: ast.expr, env: Env) -> Labels:
        """Return the labels of an expression's names; a length says nothing of a loss."""
        inside = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
        if any(getattr(part, "id", "") in ("len", "isfinite", "isnan") for part in inside):
            return frozenset()
        return frozenset(label for part in inside for label in env.get(part.id, PLAIN).labels)

    def _pairs(self, target: ast.expr, node: ast.expr, value: Value, env: Env) -> None:
        """Assign tuples part by part, so that ``a, b = train, val`` labels b alone."""
        if (
            isinstance(target, ast.Tuple)
            and isinstance(node, ast.Tuple)
            and len(target.elts) == len(node.elts)
        ):
            parts = [evaluate(self, part, env) for part in node.elts]
            for one, part in zip(target.elts, parts, strict=True):
                self.assign(one, part, env)
        else:
            self.assign(target, value, env)

    def assign(self, target: ast.AST, value: Value, env: Env) -> None:
        """Bind names; a field or an entry adds its labels to the whole that it is a part of."""
        if isinstance(target, ast.Name):
            if target.id in self.losses:
                known = value.labels & {"val", "loss"} or value.text in ("0", "0.0")
                if not known and not self.entropies:
                    self.operation(target, f"loss = {value.shown}", [LOSS])
                value = Value(value.labels | {"loss"}, value.text)
            env[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List | ast.Starred):
            for part in ast.iter_child_nodes(target):
                self.assign(part, Value(value.labels), env)
        elif isinstance(target, ast.Attribute | ast.Subscript):
            self._kept(target, value, env)

    def _kept(self, target: ast.Attribute | ast.Subscript, value: Value, env: Env) -> None:
        """Keep the labels of a field under its own name, those of an entry under the whole's."""
        root: ast.AST = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        foreign = value.labels & {"val", "probe", "score", "loss"}
        if not isinstance(root, ast.Name) or not foreign or self.entropies:
            return
        known = env.get(root.id, PLAIN)
        if not known.labels & {"val", "probe", "loss"} and root.id in self.called:
            self.watch.learned.setdefault(target, "keeps values of validation tokens")
        if isinstance(target, ast.Attribute):
            env[ast.unparse(target)] = Value(foreign)
        else:
            env[root.id] = Value(known.labels | foreign)

    @cached_property
    def called(self) -> frozenset[str]:
        """Names that the module calls or asks for their parameters: models."""
        calls = self.module.of(ast.Call)
        direct = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
        asked = {
            one.value.id
            for one in self.module.of(ast.Attribute)
            if one.attr in ("parameters", "named_parameters") and isinstance(one.value, ast.Name)
        }
        return frozenset(direct | asked)

    def _augmented(self, node: ast.AugAssign, env: Env) -> None:
        before, value = evaluate(self, node.target, env), evaluate(self, node.value, env)
        after = Value(before.labels | value.labels)
        if after.labels & {"val", "loss"}:
            text = f"V {OPERATORS[type(node.op)]}= {value.shown}"
            self.operation(node, text, [before, value])
        if isinstance(node.target, ast.Name):
            env[node.target.id] = after
        elif isinstance(node.target, ast.Attribute | ast.Subscript):
            if value.labels & {"val", "probe"} and not self._is_local(node.target, env):
                what = "changes weights by values of validation tokens"
                self.watch.learned.setdefault(node, what)
            self._kept(node.target, after, env)

    @staticmethod
    def _is_local(target: ast.expr, env: Env) -> bool:
        """Return whether what is changed came from validation tokens or began as zeros."""
        root = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        known = env.get(root.id, PLAIN) if isinstance(root, ast.Name) else PLAIN
        return bool(known.labels & {"val", "probe", "loss"}) or known.text == "0"

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, value: Value, env: Env) -> None:
        for _ in range(2):
            inner = dict(env)
            if isinstance(node, ast.For | ast.AsyncFor):
                self.assign(node.target, Value(value.labels), inner)
            self.block(node.body, inner)
            env.update(merge(env, inner))
        self.block(node.orelse, env)

    def _branches(self, node: ast.If, env: Env) -> None:
        self.condition(node.test, evaluate(self, node.test, env))
        first, second = dict(env), dict(env)
        self.block(node.body, first)
        self.block(node.orelse, second)
        env.update(merge(first, second))
