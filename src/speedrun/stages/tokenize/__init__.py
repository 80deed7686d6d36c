"""tokenize: shards in the speedrun's own .bin format, and the withheld probes, by kind of corpus.

``distributions`` trains a small tokeniser, ``text`` encodes with GPT-2's, ``hub`` shows shards
that were downloaded as tokens. Training sees ``public/`` only; the hold-out shard and the probe
targets stay in ``private/``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.stages.tokenize.downloaded import HubSpec, hub
from speedrun.stages.tokenize.own_text import TextSpec, text
from speedrun.stages.tokenize.probes import write_probes
from speedrun.stages.tokenize.shards import read_shard, write_shard
from speedrun.stages.tokenize.trained import TokenizeSpec, tokenize, train_tokenizer

__all__ = [
    "HubSpec",
    "TextSpec",
    "TokenizeSpec",
    "build",
    "hub",
    "read_shard",
    "text",
    "tokenize",
    "train_tokenizer",
    "write_probes",
    "write_shard",
]

Build = Callable[[Path, Any, Path], dict[str, float]]
KINDS: dict[str, tuple[type[Any], Build]] = {
    "distributions": (TokenizeSpec, tokenize),
    "hub": (HubSpec, hub),
    "text": (TextSpec, text),
}


def build(source: Path, values: dict[str, Any], out: Path) -> dict[str, float]:
    """Make the shards that ``values`` (specs.tokenize) asks for; return sizes in tokens.

    ``source`` is documents.jsonl of a corpus of distributions, manifest.json of the others.
    """
    kind = str(values.get("kind", "distributions"))
    if kind not in KINDS:
        raise SpeedrunError(f"tokenize: unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    spec, make = KINDS[kind]
    return make(source, schema.from_dict(spec, values), out)
