"""What a name stands for: import aliases, plain assignments and folded constants followed.

Flow-insensitive on purpose: a name that may be ``time`` somewhere is taken for ``time``
everywhere in its scope, so that the order of statements hides nothing.
"""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from dataclasses import dataclass, field

from speedrun.rules.folding import UNKNOWN, fold_expression

DEPTH = 12  # names that stand for names
BUILTINS = frozenset(dir(builtins)) | {"__builtins__", "__loader__", "__spec__"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LOADERS = frozenset({"__import__", "importlib.import_module", "builtins.__import__"})
SPACES = frozenset({"globals", "vars", "locals"})


@dataclass
class Scope:
    """A function's or a module's names and what is assigned to them; "" is something unknown."""

    parent: Scope | None
    owner: ast.AST
    values: dict[str, list[ast.expr | str]] = field(default_factory=lambda: defaultdict(list))

    def find(self, name: str) -> list[ast.expr | str] | None:
        """Return what the name may stand for, from the nearest scope that knows it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values and not (
                isinstance(scope.owner, ast.ClassDef) and scope is not self
            ):
                return scope.values[name]
            scope = scope.parent
        return None


class Names:
    """One module's nodes, scopes and names."""

    def __init__(self, tree: ast.Module, most: int) -> None:
        """Walk the tree once. Errors: ValueError for one of more than ``most`` nodes."""
        self.tree = tree
        self.nodes: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        self.scopes: dict[ast.AST, Scope] = {}
        self.parents: dict[ast.AST, ast.AST] = {}
        self.fields: dict[str, list[ast.expr]] = defaultdict(list)  # class and instance fields
        self.siblings: dict[str, Names] = {}
        self.top = Scope(None, tree)
        self.size = 0
        self._dotted: dict[ast.AST, str] = {}
        self._folded: dict[ast.AST, object] = {}
        self._busy: set[ast.AST] = set()
        self._walk(most)

    # --- the walk ---------------------------------------------------------------------------

    def _walk(self, most: int) -> None:
        waiting: list[tuple[ast.AST, Scope]] = [(self.tree, self.top)]
        while waiting:
            node, scope = waiting.pop()
            self.size += 1
            if self.size > most:
                raise ValueError("more code than is looked at")
            self.nodes[type(node)].append(node)
            self.scopes[node] = scope
            self._bind(node, scope)
            inner = scope
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                inner = Scope(scope, node)
                self._parameters(node, inner)
            children = list(ast.iter_child_nodes(node))
            for child in children:
                self.parents[child] = node
            waiting.extend((child, inner) for child in reversed(children))

    @staticmethod
    def _parameters(node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.ClassDef):
            return
        given = node.args  # type: ignore[attr-defined]
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        for argument in every:
            if argument is not None:
                scope.values[argument.arg].append("")

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                scope.values[alias.asname or root].append(alias.name if alias.asname else root)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                scope.values[alias.asname or alias.name].append(f"{base}.{alias.name}".lstrip("."))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            scope.values[node.name].append("")
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value, scope)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            self._assign(node.target, node.value, scope)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer = self.top if isinstance(node, ast.Global) else scope.parent or self.top
            for name in node.names:
                scope.values[name] = outer.values[name]
        else:
            self._other(node, scope)

    def _other(self, node: ast.AST, scope: Scope) -> None:
        """Bind what loops, with, except and += assign: something unknown."""
        targets: list[ast.AST | None] = []
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension | ast.AugAssign):
            targets = [node.target]
        elif isinstance(node, ast.withitem):
            targets = [node.optional_vars]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            scope.values[node.name].append("")
        for target in targets:
            for name in ast.walk(target) if target is not None else ():
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                    scope.values[name.id].append("")

    def _assign(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.values[target.id].append(value)
            if isinstance(scope.owner, ast.ClassDef):
                self.fields[target.id].append(value)
        elif isinstance(target, ast.Attribute):
            self.fields[target.attr].append(value)
        elif isinstance(target, ast.Starred):
            self._assign(target.value, value, scope)
        elif isinstance(target, ast.Tuple | ast.List):
            parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            if len(parts) != len(target.elts):
                parts = []
            for index, part in enumerate(target.elts):
                if parts:
                    self._assign(part, parts[index], scope)
                elif isinstance(part, ast.Name):
                    scope.values[part.id].append("")

    # --- what an expression stands for ------------------------------------------------------

    def dotted(self, node: ast.AST) -> str:
        """Return the dotted name that an expression stands for, or "".

        ``torch.cuda.Event()`` is an instance; ``builtins.`` is left off. A name that the code
        defines itself stands for nothing.
        """
        if node in self._dotted:
            return self._dotted[node]
        if node in self._busy or len(self._busy) > DEPTH * 4:
            return ""
        self._busy.add(node)
        found = self._resolve(node).removeprefix("builtins.")
        self._busy.discard(node)
        self._dotted[node] = found
        return found

    def _resolve(self, node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return self._name(node.id, self.scopes.get(node, self.top))
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return self._member(base, node.attr)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.NamedExpr):
            return self.dotted(node.value)
        if isinstance(node, ast.IfExp):
            return self.dotted(node.body) or self.dotted(node.orelse)
        return ""

    def _name(self, name: str, scope: Scope) -> str:
        values = scope.find(name)
        if values is None:
            return self._starred(name) or (name if name in BUILTINS else "")
        for value in values[:DEPTH]:
            found = self._sibling(value) if isinstance(value, str) else self.dotted(value)
            if found:
                return found
        return ""

    def _starred(self, name: str) -> str:
        """Follow a name that ``from x import *`` brings from another file of the solution."""
        for other in self.top.values.get("*", []):
            module = str(other).removesuffix(".*")
            if module in self.siblings and name in self.siblings[module].top.values:
                return self._sibling(f"{module}.{name}")
        return ""

    def _sibling(self, dotted: str) -> str:
        """Follow a name that is imported from another file of the solution."""
        module, _, name = dotted.rpartition(".")
        other = self.siblings.get(module)
        if other is None or other is self:
            return dotted
        found = other._name(name, other.top) if name in other.top.values else ""
        return found or dotted

    def _member(self, base: str, name: str) -> str:
        if not base:
            return ""
        if base in self.siblings:
            return self._sibling(f"{base}.{name}")
        return f"{base}.{name}"

    def _subscript(self, node: ast.Subscript) -> str:
        """Resolve globals()["x"], sys.modules["x"] and x.__dict__["y"]."""
        base, key = self.dotted(node.value), self.fold(node.slice)
        if not base or not isinstance(key, str):
            return ""
        if base in ("globals()", "locals()", "vars()"):
            return self._name(key, self.scopes.get(node, self.top))
        if base == "sys.modules":
            return key
        if base.endswith((".__dict__", ".__dict__()")):
            return f"{base.rpartition('.__dict__')[0]}.{key}"
        return f"{base[:-2]}.{key}" if base.endswith(".vars()") else ""

    def _call(self, node: ast.Call) -> str:
        function = self.dotted(node.func)
        if not function:
            return ""
        first = self.fold(node.args[0]) if node.args else UNKNOWN
        if function in LOADERS and isinstance(first, str):
            return first
        if function == "getattr" and len(node.args) > 1:
            name = self.fold(node.args[1])
            return self._member(self.dotted(node.args[0]), name) if isinstance(name, str) else ""
        if function == "vars" and node.args:
            base = self.dotted(node.args[0])
            return f"{base}.__dict__" if base else ""
        if function == "type" and node.args:
            return self.dotted(node.args[0]).removesuffix("()")
        return function + "()"

    def fold(self, node: ast.AST) -> object:
        """Return the constant that an expression always is, or UNKNOWN."""
        return fold_expression(node, self._constant)

    def _constant(self, node: ast.AST, depth: int) -> object:
        """Fold a name or a field that is assigned once."""
        values: list[ast.expr | str] | None = None
        if isinstance(node, ast.Name):
            values = self.scopes.get(node, self.top).find(node.id)
        elif isinstance(node, ast.Attribute) and not self.dotted(node.value):
            values = list(self.fields.get(node.attr, []))
        if not values or len(values) != 1 or isinstance(values[0], str) or depth > DEPTH:
            return UNKNOWN
        value = values[0]
        if value not in self._folded:
            self._folded[value] = UNKNOWN  # of a value that depends on itself
            self._folded[value] = fold_expression(value, self._constant, depth + 1)
        return self._folded[value]
