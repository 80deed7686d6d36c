"""The rule ``compile_flags``: what of the compiler is switched, by any road."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from speedrun.rules.catalogue import REVIEW
from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.patches import assignments

CONFIG = "torch._inductor.config"
KIN = ("torch._dynamo.config", "torch._functorch.config", "torch.compiler.config", "triton.knobs")
VARIABLES = ("TORCHINDUCTOR_", "TORCH_COMPILE", "TORCHDYNAMO_", "INDUCTOR_")
SETTERS = ("os.putenv", "os.environ.setdefault", "os.environ.__setitem__")


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield one fact a flag; flags of other parts than inductor's and compile's are for review."""
    for module in code.modules:
        for node, dotted, _value in assignments(module):
            yield from _set(module, node, dotted)
        for call in module.of(ast.Call):
            yield from _call(module, call)
        yield from _environment(module)


def _set(module: Module, node: ast.AST, dotted: str) -> Iterator[Fact]:
    if dotted.startswith(CONFIG + "."):
        yield module.fact("compile_flags", dotted, node, f"sets {dotted}")
    elif dotted.startswith(KIN):
        yield module.fact("compile_flags", dotted, node, f"sets {dotted}", REVIEW)


def _call(module: Module, call: ast.Call) -> Iterator[Fact]:
    function = module.names.dotted(call.func)
    if function == "torch.compile" or _partial(module, call, function):
        yield from _compile(module, call)
    elif function.startswith(CONFIG + "."):
        yield module.fact("compile_flags", function, call, f"calls {function}")
        for name in _patched(module, call):
            dotted = f"{CONFIG}.{name}"
            yield module.fact("compile_flags", dotted, call, f"sets {dotted}")
    elif function in SETTERS and call.args:
        yield from _variable(module, call, module.names.fold(call.args[0]))
    elif function == "os.environ.update":
        for name in _patched(module, call):
            yield from _variable(module, call, name)


def _partial(module: Module, call: ast.Call, function: str) -> bool:
    first = module.names.dotted(call.args[0]) if call.args else ""
    return function == "functools.partial" and first == "torch.compile"


def _compile(module: Module, call: ast.Call) -> Iterator[Fact]:
    for keyword in call.keywords:
        if keyword.arg == "model":
            continue
        for name in _options(module, keyword):
            yield module.fact(
                "compile_flags", f"torch.compile {name}", call, f"compiles with {name}"
            )
    for index, _ in enumerate(call.args[1:]):
        key = f"torch.compile argument {index + 2}"
        yield module.fact("compile_flags", key, call, f"compiles with its argument {index + 2}")


def _options(module: Module, keyword: ast.keyword) -> list[str]:
    """Return flags of one keyword; an options dictionary has one a key."""
    if isinstance(keyword.value, ast.Dict):
        keys = [module.names.fold(key) if key else "?" for key in keyword.value.keys]
        return [f"{keyword.arg} {key if isinstance(key, str) else '?'}" for key in keys]
    value = module.names.fold(keyword.value)
    return [f"{keyword.arg}={value!r}" if isinstance(value, str | bool) else f"{keyword.arg}=?"]


def _patched(module: Module, call: ast.Call) -> list[str]:
    """Return names given by keyword, in a dictionary or as the first argument."""
    names = [keyword.arg or "?" for keyword in call.keywords]
    for argument in call.args[:1]:
        if isinstance(argument, ast.Dict):
            folded = [module.names.fold(key) for key in argument.keys if key is not None]
            names += [name if isinstance(name, str) else "?" for name in folded]
        else:
            name = module.names.fold(argument)
            names.append(name if isinstance(name, str) else "?")
    return names


def _environment(module: Module) -> Iterator[Fact]:
    for node in module.of(ast.Subscript):
        if isinstance(node.ctx, ast.Store) and module.names.dotted(node.value) == "os.environ":
            yield from _variable(module, node, module.names.fold(node.slice))


def _variable(module: Module, node: ast.AST, name: object) -> Iterator[Fact]:
    if isinstance(name, str) and name.startswith(VARIABLES):
        yield module.fact("compile_flags", name, node, f"sets the environment variable {name}")
    elif isinstance(name, str) and name.startswith("TRITON_"):
        what = f"sets the environment variable {name}"
        yield module.fact("compile_flags", name, node, what, REVIEW)
