"""A solution's modules, parsed once, with their nodes by kind, their scopes and their names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from speedrun.rules.folder import Folder, read_folder
from speedrun.rules.names import Names

MOST_NODES = 400_000  # of all files; the largest record has 45,000
Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True)
class Fact:
    """Something that a source does. What the start does as often is no finding."""

    rule: str
    key: str
    file: str
    line: int
    what: str
    severity: str = ""  # "" is the rule's own
    pinned: bool = False  # its absence is a finding too
    told_as: str = ""  # the rule of its finding, where that is another one
    silent: bool = False  # only its absence is one


@dataclass
class Module:
    """One parsed file."""

    file: str
    text: str
    names: Names

    @property
    def name(self) -> str:
        """The name that other files import it by."""
        return ".".join(PurePosixPath(self.file).with_suffix("").parts)

    def of(self, kind: type[Node]) -> list[Node]:
        """Return the module's nodes of one kind, in the order of the source."""
        return self.names.nodes.get(kind, [])  # type: ignore[return-value]

    def fact(self, rule: str, key: str, node: ast.AST, what: str, severity: str = "") -> Fact:
        """Return a fact about ``node``."""
        return Fact(rule, key, self.file, getattr(node, "lineno", 0), what, severity)


@dataclass
class Code:
    """All of a solution."""

    folder: Folder
    entry: str
    modules: list[Module] = field(default_factory=list)
    unreadable: list[Fact] = field(default_factory=list)

    def calls(self) -> Iterator[tuple[Module, ast.Call, str]]:
        """Yield every call with the dotted name of what it calls, or ""."""
        for module in self.modules:
            for call in module.of(ast.Call):
                yield module, call, module.names.dotted(call.func)


def read_code(path: Path, entry: str) -> Code:
    """Read and parse a folder; a file that does not parse is an ``unreadable`` fact."""
    code = Code(read_folder(path), entry)
    room = MOST_NODES
    for file, text in code.folder.texts.items():
        if not file.endswith((".py", ".pyw")) and file != entry:
            continue
        try:
            names = Names(ast.parse(text), room)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = f"{type(error).__name__}: {getattr(error, 'msg', '') or error}"
            code.unreadable.append(_unreadable(file, error, reason))
            continue
        room -= names.size
        code.modules.append(Module(file, text, names))
    if entry not in code.folder.texts:
        code.unreadable.append(Fact("unreadable", "entry", entry, 0, f"no readable file {entry}"))
    siblings = {module.name: module.names for module in code.modules}
    for module in code.modules:
        module.names.siblings = siblings
    return code


def _unreadable(file: str, error: BaseException, reason: str) -> Fact:
    line = getattr(error, "lineno", 0) or 0
    return Fact("unreadable", file, file, line, f"cannot be parsed: {reason}"[:200])
