"""models: a model's YAML, wrong ones and the shipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import model_server as ms
from model_asking import OWNER, ask, opened
from model_server import ModelServer, model_config
from speedrun import files
from speedrun.adapters import hydra_config, models
from speedrun.adapters.models import prices
from speedrun.adapters.models import spec as model_spec

pytestmark = pytest.mark.usefixtures("key")


def test_bad_configuration_fails_before_any_call(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(files.SpeedrunError, match="'none' cannot answer prompts"):
        models.open_model({"name": "none", "kind": "none"}, {}, OWNER, tmp_path)
    with pytest.raises(files.SpeedrunError, match=r"m\.yaml: .*colour"):
        opened(server, tmp_path, colour="red")
    with pytest.raises(files.SpeedrunError, match=r"m\.yaml: .*max_tokens"):
        opened(server, tmp_path, max_tokens="many")
    with pytest.raises(files.SpeedrunError, match="base_url must be the root"):
        opened(server, tmp_path, base_url="localhost:8000")
    with pytest.raises(files.SpeedrunError, match="keys are given by api_key_env") as caught:
        opened(server, tmp_path, base_url=f"http://me:{ms.KEY}@h/v1")
    assert ms.KEY not in str(caught.value)
    monkeypatch.delenv(ms.KEY_VARIABLE)
    with pytest.raises(files.SpeedrunError, match=f"{ms.KEY_VARIABLE} is not set"):
        ask(opened(server, tmp_path))
    assert server.requests == []


BAD_VALUES = [
    {"concurrency": 0},  # would wait for a slot for ever
    {"timeout_s": 0},
    {"timeout_s": float("nan")},
    {"backoff_s": -1},
    {"max_retries": -1},
    {"max_tokens": 0},
    {"max_tokens_field": "model"},
    {"prices": {"usd_per_million_in": -1, "usd_per_million_out": 1}},
    {"prices": {"usd_per_million_in": 1, "usd_per_million_out": float("inf")}},
    {"base_url": "http://[h/v1"},
    {"base_url": "http://h:99999/v1"},
    {"base_url": "http://h /v1"},
    {"extra_body": [1]},
    {"extra_body": {"stream": True}},
    {"extra_body": {"n": 4}},
    {"extra_body": {"max_tokens": 10**6}},  # the ledger knows of another bound
]


@pytest.mark.parametrize("values", BAD_VALUES, ids=str)
def test_a_value_that_no_call_could_work_with_is_named(values: dict[str, Any]) -> None:
    name = "usd_per_million" if "prices" in values else next(iter(values))
    with pytest.raises(files.SpeedrunError, match=rf"m\.yaml: {name}") as caught:
        model_spec.read(model_config("http://h/v1", **values), {})
    assert "\n" not in str(caught.value)


def test_every_shipped_model_is_complete(repository: Path) -> None:
    folder = repository / "config"
    names = {path.stem for path in (folder / "model").glob("*.yaml")}
    assert {"o3_mini", "deepseek_r1", "gemini_2_5_pro", "claude_3_7_sonnet"} < names
    for name in sorted(names - {"none", "openai_compatible"}):
        spec = model_spec.read(hydra_config.option(folder, "model", name), {})
        assert spec.name == name
        assert prices.price_source(spec) != "unknown", name
        assert spec.max_tokens and spec.output_bound, name
        assert "not verified" in spec.note


def test_the_template_names_every_field(repository: Path) -> None:
    shown = yaml.safe_load((repository / "config/model/openai_compatible.yaml").read_text())
    assert set(shown) == set(model_spec.ModelSpec.__dataclass_fields__)
