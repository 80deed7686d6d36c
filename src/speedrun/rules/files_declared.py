"""The rule ``files``: source text under plain names, and nothing that Python loads unasked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

from speedrun.rules.catalogue import REVIEW
from speedrun.rules.code import Code, Fact

DECLARED = frozenset({".py", ".md", ".txt", ".yaml", ".yml", ".toml", ".cu", ".cuh", ".cpp", ".h"})
UNASKED = frozenset({"sitecustomize.py", "usercustomize.py"})  # Python runs them by itself
LIBRARIES = frozenset({"torch", "numpy", "triton", "flash_attn_interface", "tiktoken"})


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield the files that no solution needs."""
    for file, what in code.folder.odd.items():
        yield Fact("files", file, file, 0, f"{file} is {what}")
    for file in code.folder.texts:
        said = _fault(PurePosixPath(file), code.entry)
        if said:
            yield Fact("files", file, file, 0, f"{file} {said}")
        elif file.endswith((".cu", ".cuh", ".cpp", ".h")):
            yield Fact("files", file, file, 0, f"{file} is source of another language", REVIEW)


def _fault(path: PurePosixPath, entry: str) -> str:
    if any(part.startswith(".") for part in path.parts):
        return "is hidden"
    if path.name in UNASKED or path.suffix == ".pth":
        return "is run by Python without being imported"
    if str(path) != entry and path.suffix not in DECLARED:
        return f"is of an undeclared kind ({path.suffix or 'no suffix'})"
    if path.suffix != ".py" or str(path) == entry:
        return ""
    module = path.parts[0].removesuffix(".py")
    if module in sys.stdlib_module_names or module in LIBRARIES or module == "speedrun":
        return f"stands before the library {module}"
    return ""
