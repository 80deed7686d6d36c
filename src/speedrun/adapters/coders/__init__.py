"""Coders: what answers a node's request. A new one is a YAML in config/coder.

A coding agent that has a command line needs no more than that (``kind: command``); anything else is
a module here as well.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.stages.generate import Coder

if TYPE_CHECKING:
    from speedrun.adapters.models import Model

REPLIES = Path("replies/coder")
NOT_SETTINGS = ("name", "kind", "max_nodes", "needs_model")  # the plan's, or read here


@dataclass(frozen=True)
class Given:
    """What a coder may be made of."""

    name: str
    settings: Mapping[str, Any]  # its own, of its YAML
    private: Path | None  # the task's private folder: the oracle's alone
    replies: Path
    model: Model | None  # the arm's
    place: Path | None  # the node's folder, for logs
    repository: Path  # where workflow/envs/coders lies


def make_coder(
    config: Mapping[str, Any],
    private: Path | None = None,
    replies: Path = REPLIES,
    *,
    model: Model | None = None,
    place: Path | None = None,
    repository: Path = Path("."),
) -> Coder:
    """Return the coder that ``config`` (config/coder/<name>.yaml) names.

    ``private`` is the task's private folder: only the oracle may be given it. ``model`` is the
    arm's, ``place`` the node's folder, where a coding agent leaves its log, ``repository`` holds
    what agents are installed from.
    """
    name = str(config.get("name"))
    kind = str(config.get("kind", name))
    if kind not in MAKERS:
        near = difflib.get_close_matches(kind, MAKERS, n=1, cutoff=0.0)[0]
        raise SpeedrunError(f"no coder {kind!r}: did you mean {near!r}?")
    if private is not None and kind != "oracle":
        raise SpeedrunError(f"coder {name} must not be given the private folder {private}")
    settings = {key: config[key] for key in config if key not in NOT_SETTINGS}
    return MAKERS[kind](Given(name, settings, private, replies, model, place, repository))


def prompt_style(config: Mapping[str, Any]) -> str:
    """Return how a coder is to be asked: NodeInputs.style."""
    return "files" if config.get("kind", config.get("name")) == "command" else "reply"


def _null(given: Given) -> Coder:
    from speedrun.adapters.coders.null import Null

    return Null()


def _oracle(given: Given) -> Coder:
    from speedrun.adapters.coders.oracle import Oracle

    if given.private is None:
        raise SpeedrunError("coder oracle needs the task's private folder: pass --private")
    return Oracle(given.private)


def _tuner(given: Given) -> Coder:
    from speedrun.adapters.coders.tuner import Settings, Tuner

    return Tuner(schema.from_dict(Settings, dict(given.settings)))


def _replay(given: Given) -> Coder:
    from speedrun.adapters.coders.replay import Replay

    return Replay(given.replies, str(given.settings.get("recording", "")))


def _direct(given: Given) -> Coder:
    from speedrun.adapters.coders.direct import Direct

    if given.model is None:
        raise SpeedrunError("coder direct asks a model: give its arm one, such as model: o3_mini")
    for setting in given.settings:
        raise SpeedrunError(f"config/coder/{given.name}.yaml: unknown key {setting!r}")
    return Direct(given.model)


def _command(given: Given) -> Coder:
    from speedrun.adapters.coders.command import CommandCoder, Settings

    try:
        settings = schema.from_dict(Settings, dict(given.settings))
    except SpeedrunError as error:
        raise SpeedrunError(f"config/coder/{given.name}.yaml: {error}") from error
    return CommandCoder(given.name, settings, given.model, given.place, given.repository)


MAKERS: dict[str, Callable[[Given], Coder]] = {
    "null": _null,
    "oracle": _oracle,
    "tuner": _tuner,
    "replay": _replay,
    "direct": _direct,
    "command": _command,
}
