"""The rules ``network``, ``process``, ``dynamic`` and ``packages``: what the code reaches for.

Every reference counts, not calls alone, so that ``f = os.fork`` is seen where it stands.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.folding import UNKNOWN
from speedrun.rules.sensitive import REACH, nearest, words

BLIND = frozenset({"getattr", "setattr", "delattr", "hasattr"})
INNER = words(
    "__code__ __globals__ __subclasses__ __closure__ __builtins__ __defaults__ __kwdefaults__ "
    "__bases__ __mro__ __getattribute__ f_globals f_locals f_back gi_frame tb_frame"
)
REFERENCES: tuple[type[ast.AST], ...] = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield references to sensitive names, blind look-ups and imports."""
    local = {module.name.split(".")[0] for module in code.modules}
    for module in code.modules:
        yield from _references(module)
        yield from _blind(module)
        yield from _imports(module, local)


def _references(module: Module) -> Iterator[Fact]:
    for kind in REFERENCES:
        for node in module.of(kind):
            if isinstance(module.names.parents.get(node), ast.Attribute):
                continue  # a part of a longer name
            dotted = module.names.dotted(node)
            if "()" in dotted.removesuffix("()"):
                continue  # what a call returned: the call is told by itself
            head = nearest(dotted.removesuffix("()"), REACH)
            if head and not (dotted.endswith("()") and _told(module, node)):
                name = dotted.removesuffix("()")
                yield module.fact(REACH[head], name, node, f"uses {name}")


def _told(module: Module, node: ast.AST) -> bool:
    """Return whether a result is told where its function is named."""
    return not isinstance(node, ast.Call) or bool(module.names.dotted(node.func))


def _blind(module: Module) -> Iterator[Fact]:
    """Yield look-ups of names that cannot be told beforehand, on something imported."""
    for node in module.of(ast.Attribute):
        if node.attr in INNER:
            yield module.fact("dynamic", node.attr, node, f"reaches for {node.attr}")
    for call in module.of(ast.Call):
        function = module.names.dotted(call.func)
        if function in BLIND and len(call.args) > 1:
            base = module.names.dotted(call.args[0])
            if base and not base.endswith("()") and module.names.fold(call.args[1]) is UNKNOWN:
                what = f"{function} on {base} with a name that is made up at run time"
                yield module.fact("dynamic", f"{function} {base}", call, what)
    for subscript in module.of(ast.Subscript):
        base = module.names.dotted(subscript.value)
        if base in ("globals()", "locals()", "vars()") or base.endswith(".__dict__"):
            yield module.fact("dynamic", f"{base}[]", subscript, f"looks a name up in {base}")
    for name in module.of(ast.Name):
        if name.id in BLIND and not _is_callee(module, name):
            yield module.fact("dynamic", f"{name.id} passed on", name, f"passes {name.id} on")


def _is_callee(module: Module, name: ast.Name) -> bool:
    parent = module.names.parents.get(name)
    return isinstance(parent, ast.Call) and parent.func is name


def _imports(module: Module, local: set[str]) -> Iterator[Fact]:
    for node, name in imported(module):
        root = name.split(".")[0]
        head = nearest(name, REACH)
        if head:
            yield module.fact(REACH[head], f"import {name}", node, f"imports {name}")
        if root not in local and root not in sys.stdlib_module_names:
            yield module.fact("packages", root, node, f"imports the package {root}")


def imported(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every import with its full dotted name, ``import_module("x")`` among them."""
    for node in module.of(ast.Import):
        for alias in node.names:
            yield node, alias.name
    for source in module.of(ast.ImportFrom):
        if source.level:
            continue
        for alias in source.names:
            yield source, f"{source.module}.{alias.name}" if alias.name != "*" else _star(source)
    for call in module.of(ast.Call):
        function = module.names.dotted(call.func)
        if function in ("__import__", "importlib.import_module") and call.args:
            name = module.names.fold(call.args[0])
            if isinstance(name, str):
                yield call, name


def _star(source: ast.ImportFrom) -> str:
    return f"{source.module}"
