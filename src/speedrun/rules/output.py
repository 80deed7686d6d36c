"""The rule ``output``: the protocol lines and their time; what they say otherwise is printed_loss.

Probes cover a line that is new or changed. They do not cover a loss that is written down, or
printed past what can be read here, since it may be nearly right.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.folding import UNKNOWN
from speedrun.rules.scores import KEEPERS
from speedrun.rules.sensitive import words

PROTOCOL = re.compile(r"val[_ ]loss\s*[:={%]|\bs:%d tel:", re.IGNORECASE)
LOSS = re.compile(r"val[_ ]loss\s*[:=]?\s*$", re.IGNORECASE)
WRITTEN = re.compile(r"val[_ ]loss\s*[:=]?\s*-?\d", re.IGNORECASE)
COARSE = re.compile(r"val[_ ]loss\s*[:=]?\s*(?:\{(?!:\.[4-9]f\}|\})|%(?!f|s|\.[4-9]f))", re.I)
TIME = re.compile(r"(?:train_time|step_avg)\s*[:=]?\s*$", re.IGNORECASE)
RAW = words("""
    os.write os.writev os.dup2 os.dup sys.stdout.write sys.stdout.buffer sys.stdout.writelines
    sys.__stdout__ sys.stdout.fileno sys.stdout.detach sys.stdout.reconfigure
    contextlib.redirect_stdout os.fdopen sys.displayhook
    """)


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield every text of the protocol, the arithmetic on what it shows, and raw output."""
    for module in code.modules:
        for node in protocol_texts(module):
            text = _template(node)
            what = f"prints {text!r}"
            rule = "printed_loss" if WRITTEN.search(text) or COARSE.search(text) else ""
            yield Fact("output", f"line {text}", module.file, node.lineno, what, "", True, rule)
        for value in filled(module, LOSS):
            printed = shape(module, value)
            if printed != "_":
                what = f"prints {printed} as the loss"
                yield module.fact("printed_loss", what, value, what)
        yield from _handed(module)
        yield from _clock(module)
        yield from _waits(module)
        yield from _made_up(module)
        for attribute in module.of(ast.Attribute):
            dotted = module.names.dotted(attribute)
            if dotted in RAW:
                yield module.fact("printed_loss", dotted, attribute, f"uses {dotted}")


def _handed(module: Module) -> Iterator[Fact]:
    """Yield what takes a protocol line, and what a function of the code's own does with it."""
    own = {node.name: node for node in module.of(ast.FunctionDef)}
    takers: set[ast.FunctionDef] = set()
    for node in protocol_texts(module):
        call = module.names.parents.get(node)
        if isinstance(call, ast.Call) and node in call.args:
            taker = own.get(getattr(call.func, "id", ""))
            name = module.names.dotted(call.func) or getattr(call.func, "attr", "")
            if taker is not None:
                takers.add(taker)
            elif name not in ("print", "write", "re.compile"):
                what = f"hands its line to {name or 'something'}"
                yield module.fact("output", what, call, what)
    for taker in takers:
        for call in (one for one in ast.walk(taker) if isinstance(one, ast.Call)):
            name = module.names.dotted(call.func) or getattr(call.func, "attr", "") or "_"
            shown = name == "print" and not any(one.arg == "file" for one in call.keywords)
            if shown or name in KEEPERS:
                what = f"calls {name} to print a line"
                yield Fact("output", what, module.file, call.lineno, what, "", shown, "", shown)


def _made_up(module: Module) -> Iterator[Fact]:
    """Yield prints of texts that cannot be told, and output through a file's number."""
    for call in module.of(ast.Call):
        function = module.names.dotted(call.func)
        if function == "print" and call.args and not _told(module, call):
            yield module.fact(
                "printed_loss", "print of a made-up text", call, "prints a made-up text"
            )
        elif function in ("open", "os.fdopen", "io.open", "io.FileIO") and call.args:
            number = module.names.fold(call.args[0])
            if isinstance(number, int):
                what = f"opens the file of number {number}"
                yield module.fact("printed_loss", what, call, what)


def _told(module: Module, call: ast.Call) -> bool:
    """Return whether one of a print's values shows words, or a name that only stands for such."""
    for part in call.args:
        if isinstance(part, ast.Name):
            values = module.names.scopes.get(part, module.names.top).find(part.id) or [""]
            if all(isinstance(one, ast.expr) and _worded(one) for one in values):
                return True
        if _worded(part):
            return True
    return False


def _worded(node: ast.expr) -> bool:
    """Return whether a printed value shows words of its own, or is no text at all."""
    return any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) and len(part.value) > 2
        for part in ast.walk(node)
    )


def protocol_texts(module: Module) -> Iterator[ast.expr]:
    """Yield the outermost texts that hold a word of the protocol."""
    for kind in (ast.JoinedStr, ast.Constant, ast.BinOp):
        for node in module.of(kind):
            parent = module.names.parents.get(node)
            if isinstance(parent, ast.JoinedStr | ast.Expr | ast.FormattedValue):
                continue
            if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add | ast.Mod):
                continue
            if PROTOCOL.search(_template(node)):
                yield node


def _template(node: ast.AST) -> str:
    """Return a text with {} for what is filled in; of a sum of texts, all of them."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Mod):
            return _template(node.left)
        if not isinstance(node.op, ast.Add):
            return ""
        return "".join(_template(part) or "{}" for part in (node.left, node.right))
    parts = getattr(node, "values", [])
    return "".join(
        _template(part) if isinstance(part, ast.Constant) else "{" + _format(part) + "}"
        for part in parts
    )


def _format(part: ast.AST) -> str:
    spec = getattr(part, "format_spec", None)
    return ":" + _template(spec) if spec is not None else ""


def filled(module: Module, label: re.Pattern[str]) -> Iterator[ast.expr]:
    """Yield the expressions that are printed after a word of the protocol."""
    for node in protocol_texts(module):
        before = ""
        for part in getattr(node, "values", []):
            if isinstance(part, ast.FormattedValue):
                if label.search(before):
                    yield part.value
                before = ""
            else:
                before += _template(part)
        yield from _after_text(module, node, label)


def _after_text(module: Module, node: ast.expr, label: re.Pattern[str]) -> Iterator[ast.expr]:
    """Yield what "%" or .format fills in, all of it: places are not counted."""
    parent = module.names.parents.get(node)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return
    if not any(label.search(part) for part in re.split(r"[%{]", node.value)):
        return
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mod):
        yield parent.right
    call = module.names.parents.get(parent) if parent is not None else None
    if isinstance(parent, ast.Attribute) and isinstance(call, ast.Call):
        yield from call.args
        yield from (one.value for one in call.keywords)
    if isinstance(parent, ast.Call):
        yield from (part for part in parent.args if part is not node)


def loss_names(module: Module) -> frozenset[str]:
    """Return the names that are printed as the validation loss."""
    return frozenset(
        name.id
        for value in filled(module, LOSS)
        for name in ast.walk(value)
        if isinstance(name, ast.Name) and not _imported(module, name)
    )


def _imported(module: Module, name: ast.Name) -> bool:
    """Return whether a name is a module's or a library's, not what a call of one returned."""
    found = module.names.dotted(name)
    return bool(found) and not found.endswith("()")


def _clock(module: Module) -> Iterator[Fact]:
    """Yield the arithmetic that leads to the printed time, names left out."""
    told = set()
    names = {
        name.id
        for value in filled(module, TIME)
        for name in ast.walk(value)
        if isinstance(name, ast.Name) and not _imported(module, name)
    }
    values = list(filled(module, TIME))
    for name, assigned in _assigned(module):
        if name in names:
            values.append(assigned)
    for value in values:
        text = shape(module, value)
        if text not in told and text != "_":
            told.add(text)
            what = f"takes the printed time from {text}"
            yield Fact("output", f"time {text}", module.file, value.lineno, what, "", True)


def _waits(module: Module) -> Iterator[Fact]:
    """Yield the waits for the device, without which a clock leaves work out."""
    for call in module.of(ast.Call):
        dotted = module.names.dotted(call.func)
        if dotted.endswith(".synchronize"):
            what = f"waits for the device by {dotted}"
            yield Fact("output", what, module.file, call.lineno, what, "", True, "", True)


def _assigned(module: Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, value) of all assignments to plain names."""
    for node in module.of(ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    for added in module.of(ast.AugAssign):
        if isinstance(added.target, ast.Name):
            yield added.target.id, added.value
    for typed in module.of(ast.AnnAssign):
        if isinstance(typed.target, ast.Name) and typed.value is not None:
            yield typed.target.id, typed.value


def shape(module: Module, node: ast.AST) -> str:
    """Return an expression without names, imported ones kept."""
    folded = module.names.fold(node)
    if folded is not UNKNOWN and isinstance(folded, int | float | str):
        return repr(folded)[:40]
    if isinstance(node, ast.BinOp):
        sign = type(node.op).__name__
        sides = [shape(module, node.left), shape(module, node.right)]
        return f"{sign}({', '.join(sides)})"
    if isinstance(node, ast.Call):
        name = module.names.dotted(node.func) or "_"
        return f"{name}({', '.join(shape(module, part) for part in node.args)})"
    if isinstance(node, ast.IfExp):
        return f"({shape(module, node.body)} if _ else {shape(module, node.orelse)})"
    return "_"
