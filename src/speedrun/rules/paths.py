"""The rule ``paths``: where a run reads and writes, in whatever guise a file is opened."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from speedrun.rules.catalogue import REVIEW
from speedrun.rules.code import Code, Fact, Module
from speedrun.rules.sensitive import nearest, words

# The place of the path among the arguments; what writes is told apart below.
OPENERS = {
    name: 0
    for name in words("""
    open io.open codecs.open os.open io.FileIO numpy.fromfile numpy.load numpy.memmap numpy.save
    numpy.savez numpy.savez_compressed numpy.savetxt numpy.loadtxt numpy.genfromtxt numpy.fromregex
    numpy.lib.format.open_memmap torch.load torch.from_file torch.UntypedStorage.from_file
    torch.jit.load torch.jit.save pathlib.Path pathlib.PurePath pathlib.PosixPath os.listdir
    os.scandir os.walk os.stat os.remove os.unlink os.rename os.replace os.link os.symlink os.mkdir
    os.makedirs os.rmdir os.chmod os.truncate os.utime os.readlink os.mkfifo glob.glob glob.iglob
    os.path.exists os.path.isfile os.path.isdir os.path.getsize os.path.join sqlite3.connect
    shutil.copy shutil.copyfile shutil.copytree shutil.move shutil.rmtree safetensors
    fileinput.input linecache.getline linecache.getlines os.chdir
    """)
} | {"torch.save": 1}
WRITERS = words("""
    numpy.save numpy.savez numpy.savez_compressed numpy.savetxt torch.save torch.jit.save os.remove
    os.unlink os.rename os.replace os.link os.symlink os.rmdir os.chmod os.truncate os.utime
    shutil.move shutil.rmtree
    """)
METHODS = frozenset({"tofile", "write_text", "write_bytes", "rename", "symlink_to", "hardlink_to"})
ODD = {
    name: REVIEW
    for name in words("""
    os.chdir os.fchdir os.pardir os.path.expanduser os.path.expandvars pathlib.Path.home tempfile
    mmap os.open os.readlink os.symlink os.link os.mkfifo os.dup os.dup2 os.fdopen
    os.sendfile os.memfd_create sqlite3 dbm torch.load torch.jit.load
    safetensors fileinput linecache shutil
    """)
}
OUTSIDE = re.compile(r"~|/|\.\.(?:/|$)|.*/\.\.(?:/|$)|file:|[A-Za-z]:\\")
PLACE = re.compile(r"(?:~[\w.-]*|\.\.?)?(?:/[\w.*?@{}\[\]-]+)+/?|\.\.(?:/.*)?|.*/\.\./.*")
HARMLESS = frozenset({"/dev/null", "/"})
WRITING = re.compile("[wax+]")


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield places outside, writes into data/, and unusual ways to open a file."""
    for module, call, function in code.calls():
        if function in OPENERS:
            yield from _opened(module, call, function)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
            yield from _written(module, call, call.func.attr)
    for module in code.modules:
        yield from _literals(module)
        yield from _odd(module)


def _opened(module: Module, call: ast.Call, function: str) -> Iterator[Fact]:
    place = _argument(call, OPENERS[function])
    if place is None:
        return
    for path in _paths(module, place):
        if OUTSIDE.match(path) and path not in HARMLESS:
            yield module.fact("paths", f"{function} {path}", call, f"{function} of {path}")
        elif path.startswith("data/") and _writes(module, call, function):
            yield module.fact("paths", f"write {path}", call, f"{function} writes to {path}")


def _argument(call: ast.Call, index: int) -> ast.expr | None:
    if len(call.args) > index:
        return call.args[index]
    named = [one.value for one in call.keywords if one.arg in ("file", "path", "filename", "f")]
    return named[0] if named else None


def _paths(module: Module, node: ast.expr) -> Iterator[str]:
    """Yield what a path is, or where it begins if only that can be told."""
    folded = module.names.fold(node)
    if isinstance(folded, bytes):
        folded = folded.decode("latin-1")
    if isinstance(folded, str):
        yield folded
        return
    first: ast.AST = node
    while isinstance(first, ast.BinOp | ast.JoinedStr) and (
        not isinstance(first, ast.JoinedStr) or first.values
    ):
        first = first.left if isinstance(first, ast.BinOp) else first.values[0]
    head = module.names.fold(first)
    if isinstance(head, str) and head:
        yield head


def _writes(module: Module, call: ast.Call, function: str) -> bool:
    if function in WRITERS:
        return True
    given = [one.value for one in call.keywords if one.arg == "mode"]
    given += call.args[2:3] if function == "numpy.memmap" else call.args[1:2]
    modes = [module.names.fold(one) for one in given]
    return any(isinstance(mode, str) and WRITING.search(mode) for mode in modes)


def _written(module: Module, call: ast.Call, method: str) -> Iterator[Fact]:
    for node in (*call.args[:1], call.func.value if isinstance(call.func, ast.Attribute) else call):
        path = module.names.fold(node)
        if isinstance(path, str) and path.startswith("data/"):
            yield module.fact("paths", f"write {path}", call, f"{method} writes to {path}")


def _literals(module: Module) -> Iterator[Fact]:
    """Yield constants that name a place outside, wherever they stand; docstrings do not count."""
    for node in module.of(ast.Constant):
        value = node.value
        if not isinstance(value, str) or not 1 < len(value) < 300 or value in HARMLESS:
            continue
        parent = module.names.parents.get(node)
        if isinstance(parent, ast.Expr | ast.JoinedStr | ast.Compare):
            continue
        if PLACE.fullmatch(value) and OUTSIDE.match(value):
            severity = "" if _to_own_function(module, parent) else REVIEW
            yield module.fact("paths", f"names {value}", node, f"names the place {value}", severity)


def _to_own_function(module: Module, parent: ast.AST | None) -> bool:
    """Return whether a literal is given to a function of the code's own: load("/elsewhere")."""
    if not isinstance(parent, ast.Call) or not isinstance(parent.func, ast.Name):
        return False
    return parent.func.id in module.names.top.values and not module.names.dotted(parent.func)


def _odd(module: Module) -> Iterator[Fact]:
    for name in module.of(ast.Name):
        if name.id == "__file__":
            yield module.fact("paths", "__file__", name, "knows its own source by __file__", REVIEW)
    for kind in (ast.Name, ast.Attribute):
        for node in module.of(kind):
            if isinstance(module.names.parents.get(node), ast.Attribute):
                continue
            dotted = module.names.dotted(node)
            if dotted and "()" not in dotted and nearest(dotted, ODD):
                yield module.fact("paths", dotted, node, f"uses {dotted}", REVIEW)
