"""Write the hashes of the sources into registry.yaml, and leave every other line as it stands.

For maintainers, after a source was chosen or the commit was raised: what is written is what the
repository holds now, so look at the change before it is committed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.registry import Registry
from speedrun.stages.records import extract
from speedrun.stages.records.sources import Repository

_RECORD = re.compile(r"^(\s*)- id: (\S+)\s*$")


def hashes(repository: Repository, registry: Registry) -> dict[str, dict[str, str]]:
    """Return ``{record: {file: SHA-256}}`` of the sources as they are."""
    return {
        record.id: {
            name: files.digest_text(text)
            for name, text in extract.sources(repository, registry, record).items()
        }
        for record in registry.records
    }


def write_hashes(path: Path, found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Replace each record's ``sha256`` block; return the records whose hashes changed.

    The file is read here, just before it is written, for others may edit its other fields.
    """
    before = path.read_text(encoding="utf-8")
    blocks = re.split(r"(?m)^(?=\s*- id: )", before)
    after = "".join(_pinned(block, found) for block in blocks)
    lacking = [name for name in found if f"- id: {name}\n" not in before]
    if lacking:
        raise SpeedrunError(f"{path} has no line `- id: {lacking[0]}`: write it so")
    files.write_text_if_changed(path, after)
    pairs = zip(blocks, re.split(r"(?m)^(?=\s*- id: )", after), strict=True)
    return [_name(new) for old, new in pairs if old != new]


def _pinned(block: str, found: Mapping[str, Mapping[str, str]]) -> str:
    """Return a record's block with its new hashes; blocks of eras and the head stay."""
    name = _name(block)
    if name not in found:
        return block
    indent = block[: len(block) - len(block.lstrip())] + "  "
    lines = "".join(f"{indent}  {file}: {digest}\n" for file, digest in found[name].items())
    pattern = re.compile(rf"^{indent}sha256:.*\n(?:{indent}[ ].*\n)*", re.MULTILINE)
    if len(pattern.findall(block)) != 1:
        raise SpeedrunError(f"record {name} has no single sha256 key: write `sha256: {{}}` there")
    return pattern.sub(lambda _: f"{indent}sha256:\n{lines}", block)


def _name(block: str) -> str:
    found = _RECORD.match(block.split("\n", 1)[0])
    return found[2] if found else ""
