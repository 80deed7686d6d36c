"""Coders without a model: null, oracle, and the factory that makes any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_coders import shipped as config
from speedrun import files, schema
from speedrun.adapters.coders import make_coder
from speedrun.adapters.coders.tuner import Settings
from speedrun.files import SpeedrunError
from speedrun.stages.generate import CoderRequest, build_request
from trial_builder import START, Trial


@pytest.fixture
def request_(tmp_path: Path) -> CoderRequest:
    return build_request(Trial(tmp_path).start().inputs(1))


def test_null_changes_nothing(repository: Path, request_: CoderRequest) -> None:
    assert make_coder(config(repository, "null"))(request_).files == START


def test_oracle_gives_the_target(repository: Path, request_: CoderRequest, tmp_path: Path) -> None:
    files.write_tree(tmp_path / "private" / "target", {"train.py": "fast = True\n"})
    oracle = make_coder(config(repository, "oracle"), tmp_path / "private")
    assert oracle(request_).files == {"train.py": "fast = True\n"}
    with pytest.raises(SpeedrunError, match="pass --private"):
        make_coder(config(repository, "oracle"))
    with pytest.raises(SpeedrunError, match="run `speedrun task`"):
        make_coder(config(repository, "oracle"), tmp_path / "lost")(request_)


def test_factory_refuses_unknown_names_and_the_private_folder_for_others(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpeedrunError, match="no coder 'oracel': did you mean 'oracle'"):
        make_coder({"name": "oracel"})
    with pytest.raises(SpeedrunError, match="tuner must not be given the private folder"):
        make_coder(config(repository, "tuner"), tmp_path)
    with pytest.raises(SpeedrunError, match="unknown key 'mooves'"):
        make_coder({"name": "tuner", "mooves": 2})


def test_config_is_values_with_a_node_limit(repository: Path) -> None:
    limits = {name: config(repository, name)["max_nodes"] for name in ("null", "oracle")}
    assert limits == {"null": 1, "oracle": 1}
    for name in ("null", "oracle", "tuner", "replay"):
        assert config(repository, name)["name"] == name
    settings = {
        k: v for k, v in config(repository, "tuner").items() if k not in ("name", "max_nodes")
    }
    assert schema.from_dict(Settings, settings).exclude
