"""Coders: what answers a node's request. A new one is a module here and a YAML in config/coder."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speedrun.files import SpeedrunError
from speedrun.stages.generate import Coder

REPLIES = Path("replies/coder")


def make_coder(
    config: Mapping[str, Any], private: Path | None = None, replies: Path = REPLIES
) -> Coder:
    """Return the coder that ``config`` (config/coder/<name>.yaml) names.

    ``private`` is the task's private folder: only the oracle may be given it.
    """
    name = str(config.get("name"))
    settings = {key: config[key] for key in config if key not in ("name", "max_nodes")}
    if name not in MAKERS:
        near = difflib.get_close_matches(name, MAKERS, n=1, cutoff=0.0)[0]
        raise SpeedrunError(f"no coder {name!r}: did you mean {near!r}?")
    if private is not None and name != "oracle":
        raise SpeedrunError(f"coder {name} must not be given the private folder {private}")
    return MAKERS[name](settings, private, replies)


def _null(settings: Mapping[str, Any], private: Path | None, replies: Path) -> Coder:
    from speedrun.adapters.coders.null import Null

    return Null()


def _oracle(settings: Mapping[str, Any], private: Path | None, replies: Path) -> Coder:
    from speedrun.adapters.coders.oracle import Oracle

    if private is None:
        raise SpeedrunError("coder oracle needs the task's private folder: pass --private")
    return Oracle(private)


def _tuner(settings: Mapping[str, Any], private: Path | None, replies: Path) -> Coder:
    from speedrun import schema
    from speedrun.adapters.coders.tuner import Settings, Tuner

    return Tuner(schema.from_dict(Settings, dict(settings)))


def _replay(settings: Mapping[str, Any], private: Path | None, replies: Path) -> Coder:
    from speedrun.adapters.coders.replay import Replay

    return Replay(replies)


MAKERS: dict[str, Callable[[Mapping[str, Any], Path | None, Path], Coder]] = {
    "null": _null,
    "oracle": _oracle,
    "tuner": _tuner,
    "replay": _replay,
}
