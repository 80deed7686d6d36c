"""A gateway on a port, the model's server behind it, and the SDK's client in front."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import openai

from agent_coders import model_at
from model_server import ModelServer
from speedrun.adapters.coders.gateway import Gateway
from speedrun.adapters.models import CallKey

CALL = {
    "content": None,
    "tool_calls": [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "bash", "arguments": '{"command": "ls"}'},
        }
    ],
}
ASKED = [{"role": "user", "content": "?"}]


def key_of(turn: int) -> CallKey:
    return CallKey(seed=0, node=1, turn=turn)


class Served:
    """A gateway on a port, the model's server behind it, and the SDK as its client."""

    def __init__(self, folder: Path, reply: Any, limit: int = 100) -> None:
        self.server = ModelServer(reply).__enter__()
        self.model = model_at(self.server.url, folder)
        self.gateway = Gateway(self.model.complete, key_of, "m", limit, "made-up")
        self.port = self.gateway.__enter__().listen(None)
        url = f"http://127.0.0.1:{self.port}/v1"
        self.client = openai.OpenAI(base_url=url, api_key="made-up", max_retries=0)

    def close(self) -> None:
        self.client.close()
        self.gateway.__exit__()
        self.server.__exit__()

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, {"Authorization": "Bearer made-up", **headers})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


def ask(served: Served, **more: Any) -> Any:
    return served.client.chat.completions.create(model="any", messages=ASKED, **more)  # type: ignore[call-overload]
