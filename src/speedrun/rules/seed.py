"""The rule ``seed``: random numbers follow SPEEDRUN_SEED, so that a lucky seed cannot be chosen."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.sensitive import words

VARIABLE = "SPEEDRUN_SEED"
SEEDERS = words("""
    torch.manual_seed torch.random.manual_seed torch.cuda.manual_seed torch.cuda.manual_seed_all
    numpy.random.seed numpy.random.default_rng numpy.random.RandomState numpy.random.SeedSequence
    numpy.random.Generator random.seed random.Random torch.default_generator.manual_seed
    """)
BIT_GENERATORS = ("numpy.random.PCG64", "numpy.random.MT19937", "numpy.random.Philox",
                  "numpy.random.SFC64")  # fmt: skip
ENTROPY = words("os.urandom secrets random.SystemRandom torch.seed torch.random.seed os.getrandom")
NARROWING = (ast.Mult, ast.Mod, ast.FloorDiv, ast.Div, ast.BitAnd, ast.Pow, ast.RShift, ast.Sub)


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield the use of the seed, which must stay, and whatever goes round it."""
    for module, call, function in code.calls():
        plain = function.replace("()", "")
        seeds = isinstance(call.func, ast.Attribute) and call.func.attr in ("manual_seed", "seed_")
        if plain in SEEDERS or plain.startswith(BIT_GENERATORS) or seeds:
            yield from _seeded(module, call, plain or "manual_seed")
        elif plain in ENTROPY or plain.startswith("secrets."):
            yield module.fact("seed", plain, call, f"takes random numbers from {plain}")


def _seeded(module: Module, call: ast.Call, function: str) -> Iterator[Fact]:
    given = [*call.args, *(one.value for one in call.keywords)]
    parts = [part for one in given for part in _reached(module, one, 0)]
    if not any(isinstance(part, ast.Constant) and part.value == VARIABLE for part in parts):
        if not given or any(isinstance(module.names.fold(one), int) for one in given):
            what = f"{function} with a seed that is not the run's"
            yield module.fact("seed", f"{function} fixed", call, what)
        return
    what = f"{function} is seeded from {VARIABLE}"
    yield Fact("seed", "from the run's seed", module.file, call.lineno, what, "", True)
    for part in parts:
        if isinstance(part, ast.BinOp) and isinstance(part.op, NARROWING):
            key = f"narrowed {type(part.op).__name__}"
            yield module.fact("seed", key, part, f"computes with {VARIABLE} before it is used")


def _reached(module: Module, node: ast.AST, depth: int) -> Iterator[ast.AST]:
    """Yield the nodes of an expression and of what its names are assigned."""
    for part in ast.walk(node):
        yield part
        if isinstance(part, ast.Name) and depth < 4:
            for value in module.names.scopes.get(part, module.names.top).find(part.id) or []:
                if isinstance(value, ast.expr):
                    yield from _reached(module, value, depth + 1)
