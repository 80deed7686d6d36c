"""Arms whose models answer on a loopback server: their overrides, replies and trials."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from model_server import ModelServer

SIMULATED = "hardware.trainer=simulated"
ALONE = ["~arms.oracle", "~arms.null", "~arms.tuner", "scaffold=tree", "scaffold.n_nodes=1"]
FENCE = "```"


def whole(text: str) -> str:
    """Return a reply that gives train.py as a whole."""
    return f"### FILE: train.py\n{FENCE}\n{text}{FENCE}\n"


def arm(name: str, model: str, **changes: Any) -> str:
    """Return the override that adds an arm."""
    return f"+arms.{name}={_words({'coder': 'direct', 'model': model} | changes)}"


def _words(value: Any) -> str:
    """Return a value as Hydra reads it: keys without quotes."""
    if not isinstance(value, dict):
        return str(value)
    return "{" + ", ".join(f"{key}: {_words(one)}" for key, one in value.items()) + "}"


def at(server: ModelServer) -> list[str]:
    """Return the overrides that lead both models to the server."""
    return [f"+models.{name}.base_url={server.url}" for name in ("vllm", "ollama")]


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command said; it must have succeeded."""
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    return said


def trial(folder: Path, task: str, name: str) -> Path:
    """Return the folder of an arm's only trial of a task."""
    [found] = folder.glob(f"results/trials/nano/{task}/{name}-*/s0")
    return found
