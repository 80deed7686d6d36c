"""The solution's own functions and methods, as the abstract run finds them by what calls say."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from speedrun.rules.code import Module
from speedrun.rules.flow import PLAIN, Env
from speedrun.rules.names import Names

Function = ast.FunctionDef | ast.AsyncFunctionDef
Own = tuple[Module, Function, Env]  # a function, its module and the names around it


def parameters(function: Function | ast.Lambda) -> Env:
    """Return a function's parameters, of which nothing is known."""
    given = function.args
    return {one.arg: PLAIN for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}


@dataclass
class Defined:
    """What is defined in a module, in the solution's other files and within functions."""

    module: Module
    others: Sequence[Module] = ()  # further files of the solution
    inner: dict[str, Own] = field(default_factory=dict)  # functions within functions

    def own_function(self, node: ast.AST, env: Env) -> Own | None:
        """Return the code's own function that a call names, of this file or another."""
        names = self.module.names
        if isinstance(node, ast.Name):
            if node.id in self.inner and node.id not in env:
                return self.inner[node.id]
            known = node.id in names.top.values
            if node.id in names.scopes.get(node, names.top).values and not known:
                return None
            found = self.functions.get((self.module.name, node.id))
            if found is not None:
                return found
        place, _, name = names.dotted(node).rpartition(".")
        return self.functions.get((place, name)) if place else None

    @property
    def siblings(self) -> dict[str, Names]:
        """The solution's files by the name that they are imported by."""
        return self.module.names.siblings

    def is_class(self, name: str) -> bool:
        """Return whether a name is a class of the code's own: a call of it makes no loss."""
        return any(one.name == name for one in self.module.of(ast.ClassDef))

    @cached_property
    def functions(self) -> dict[tuple[str, str], Own]:
        """The functions at the modules' tops by module and name."""
        return {
            (module.name, one.name): (module, one, {})
            for module in (self.module, *self.others)
            for one in module.names.tree.body
            if isinstance(one, Function)
        }

    @cached_property
    def methods(self) -> dict[str, list[Own]]:
        """The methods of the code's own classes by name."""
        found: dict[str, list[Own]] = {}
        for module in (self.module, *self.others):
            for owner in module.of(ast.ClassDef):
                for one in owner.body:
                    if isinstance(one, Function):
                        found.setdefault(one.name, []).append((module, one, {}))
        return found
