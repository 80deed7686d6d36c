"""corpus: the data that a track's models learn, by kind; the same bytes on every machine.

``distributions`` is the source text of pinned, installed packages (micro, nano), ``hub`` are
tokenised shards downloaded from a dataset repository, ``text`` are the user's own files. Each
leaves a manifest.json that says what it read, with digests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.stages.corpus.distributions import (
    CorpusSpec,
    Distribution,
    corpus,
    digest_documents,
    hidden_paths,
    read_distribution,
    split_of,
)
from speedrun.stages.corpus.downloaded import HubSpec, hub
from speedrun.stages.corpus.own_text import TextSpec, text

__all__ = [
    "CorpusSpec",
    "Distribution",
    "HubSpec",
    "TextSpec",
    "build",
    "corpus",
    "digest_documents",
    "hidden_paths",
    "hub",
    "parameters",
    "read_distribution",
    "split_of",
    "text",
]


@dataclass(frozen=True)
class _Kind:
    spec: type[Any]
    build: Callable[[Any, Path], dict[str, float]]
    parameters: Callable[[Any], dict[str, Any]]  # what the stage's record names


KINDS = {
    "distributions": _Kind(
        CorpusSpec, corpus, lambda spec: {item.name: item.version for item in spec.distributions}
    ),
    "hub": _Kind(
        HubSpec,
        hub,
        lambda spec: {
            "repository": spec.repository,
            "revision": spec.revision,
            "shards": len(spec.shards),
        },
    ),
    "text": _Kind(TextSpec, text, lambda spec: {"paths": spec.paths, "column": spec.column}),
}


def build(values: dict[str, Any], out: Path) -> dict[str, float]:
    """Make the corpus that ``values`` (specs.corpus) asks for in ``out``; return sizes.

    Errors: SpeedrunError in one line for an unknown kind, and what each kind's module names.
    """
    kind = _kind(values)
    return kind.build(schema.from_dict(kind.spec, values), out)


def parameters(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the stage's record says of the corpus."""
    kind = _kind(values)
    return kind.parameters(schema.from_dict(kind.spec, values))


def _kind(values: dict[str, Any]) -> _Kind:
    name = str(values.get("kind", "distributions"))
    if name not in KINDS:
        raise SpeedrunError(f"corpus: unknown kind {name!r}: choose one of {', '.join(KINDS)}")
    return KINDS[name]
