"""Opens the model behind a test's server for one trial, and asks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_server import ModelServer, model_config
from speedrun.adapters import models
from speedrun.adapters.models import CallKey, Model, Reply

OWNER = "micro/r01-r02/direct-12345678/s0"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}


def opened(server: ModelServer, store: Path, budget: Any = None, **changes: Any) -> Model:
    operation = {"sweep": "grid", "budget": budget or {}}
    return models.open_model(model_config(server.url, **changes), operation, OWNER, store)


def ask(model: Model, prompt: str = "hi", **key: Any) -> Reply:
    where = {"seed": 0, "node": 1, "turn": 0} | key
    return model.ask([{"role": "user", "content": prompt}], CallKey(**where))
