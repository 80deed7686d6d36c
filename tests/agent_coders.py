"""Coding agents for tests: a shell or Python script in place of one, and a model to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from speedrun.adapters.coders import make_coder
from speedrun.adapters.models import Model, open_model
from speedrun.schema import Proposal
from speedrun.stages.generate import CoderRequest

OWNER = "micro/r02-r03/arm-1a2b3c4d/s0"
# Asks the model as an agent's client would, with the standard library.
ASK = """
import json, os, sys, urllib.request
def ask(body, path="/chat/completions", key=os.environ["OPENAI_API_KEY"]):
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + path, json.dumps(body).encode() if body else None,
        {"Authorization": "Bearer " + key, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
def say(text, **more):
    return ask({"model": "any", "messages": [{"role": "user", "content": text}], **more})
"""


def shipped(repository: Path, name: str) -> dict[str, Any]:
    """A coder's YAML."""
    loaded = yaml.safe_load((repository / "config" / "coder" / f"{name}.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def model_at(url: str, folder: Path, **changes: Any) -> Model:
    """The arm's model, behind a test's server."""
    config = {"name": "m", "kind": "openai_compatible", "model": "m", "base_url": url}
    operation = {"sweep": "s", **changes.pop("operation", {})}
    return open_model(
        {**config, "max_retries": 0, **changes}, operation, OWNER, store=folder / "store"
    )


def run_agent(
    request: CoderRequest,
    repository: Path,
    *words: str,
    model: Model | None = None,
    place: Path | None = None,
    **changes: Any,
) -> Proposal:
    """Run a command as an agent, with the settings of config/coder/command.yaml."""
    caps = {"time_limit_s": 20, "memory_mb": 300, "processes": 20, "disk_mb": 8, "file_mb": 4}
    config = {**shipped(repository, "command"), "command": list(words), **caps, **changes}
    root = config.pop("installed_from", repository)
    return make_coder(config, model=model, place=place, repository=root)(request)
