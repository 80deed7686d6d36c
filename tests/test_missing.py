"""What a sweep needs that is not there, as a dry run says it and as a job refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nanogpt_tasks import nanogpt
from speedrun import plan, registry, specs
from speedrun.adapters import missing
from speedrun.files import SpeedrunError


def gaps(config: dict[str, Any], facts: registry.Registry | None, local: bool = True) -> list[str]:
    return [gap.text for gap in missing.gaps(config, facts, local)]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and no key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


def with_model(config: dict[str, Any], **values: str) -> dict[str, Any]:
    asks = {**config["arms"]["null"], "model": {"name": "mine"}}
    models = {"mine": {"api_key_env": "OPENAI_API_KEY", **values}}
    return {**config, "arms": {"asks": asks}, "models": models}


def test_a_dry_run_names_what_is_missing(
    bare: Path, paper19: dict[str, Any], facts: registry.Registry
) -> None:
    said = gaps(with_model(paper19), facts)
    assert said[0].startswith("the upstream records (store/upstream/nanogpt.git): the workflow")
    kinds = [text.split()[0].rstrip(":") for text in said]
    assert kinds == ["the", "shards", "environments", "GPU", "downloads", "key"]


def test_only_tasks_that_download_ask_for_downloads(
    bare: Path, repository: Path, facts: registry.Registry
) -> None:
    early = nanogpt(repository, "hardware=8xh100", "tasks='8 <= number <= 9'")
    late = nanogpt(repository, "hardware=8xh100", "tasks='number == 84'")
    for config, needed in ((early, False), (late, True)):
        folders = {specs.train(config, task.setting)["hub_cache"] for task in plan.tasks(config)}
        assert folders == ({"store/hub"} if needed else {""})
        assert any(text.startswith("downloads") for text in gaps(config, facts)) is needed


def test_shards_in_the_folder_of_downloads_do_not_fill_it(
    bare: Path, repository: Path, facts: registry.Registry
) -> None:
    """The corpus keeps its own downloads in the same store by default."""
    late = nanogpt(repository, "tasks='number == 84'")
    store = Path(late["hardware"]["hub_cache"])
    assert late["corpus"]["store"] == str(store)
    (store / "kjj0--fineweb10B-gpt2").mkdir(parents=True)
    assert any(text.startswith("downloads") for text in gaps(late, facts))
    (store / "huggingface").mkdir()
    assert not any(text.startswith("downloads") for text in gaps(late, facts))


def test_what_is_there_is_not_missing(
    bare: Path, paper19: dict[str, Any], facts: registry.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "store/upstream/nanogpt.git").mkdir(parents=True)
    for name in specs.shard_names(paper19):
        path = bare / "results/shards/fineweb10B/public" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    simulated = {**paper19["hardware"], "trainer": "simulated"}
    assert gaps({**with_model(paper19), "hardware": simulated}, facts) == []
    assert not [text for text in gaps(paper19, facts, local=False) if text.startswith("GPU")]


def test_a_local_track_misses_nothing(bare: Path, nano_config: dict[str, Any]) -> None:
    assert gaps(nano_config, None) == []


def test_a_run_in_vain_is_stopped_in_one_line(
    bare: Path, nano_config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    asks = with_model(nano_config)
    with pytest.raises(SpeedrunError, match=r"key of model mine .arm asks.: .* not set"):
        missing.require(asks, None, {"generate", "train"}, local=False)
    missing.require(asks, None, {"corpus", "records", "train"}, local=True)
    missing.say(asks, None, local=True)
    assert capsys.readouterr().err.startswith("speedrun: missing: key of model mine")


def test_a_key_is_missing_once_for_all_arms_and_the_judge(bare: Path, nano_config: Any) -> None:
    asks = with_model(nano_config)
    asks["arms"]["too"] = asks["arms"]["asks"]
    asks["judge"] = {"name": "model", "kind": "model", "model": {"name": "mine"}}
    assert [text[:40] for text in gaps(asks, None)] == [
        "key of model mine (arm asks and 2 more): "[:40]
    ]


def test_a_coding_agent_builds_its_own_environment(bare: Path, nano_config: Any) -> None:
    agent = {**nano_config["arms"]["null"], "coder": {"name": "a", "requirements": "a.txt"}}
    config = {**nano_config, "arms": {"agent": agent}}
    assert gaps(config, None) == ["environments of the coders a: their first nodes build them"]
    python = bare / "results/envs/coders/a/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert gaps(config, None) == []


def test_an_agents_tools_must_be_there(
    bare: Path, nano_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    coder = {"name": "a", "shown": ["results/envs/coders/a"], "install": "npm install a"}
    config = {**nano_config, "arms": {"agent": {**nano_config["arms"]["null"], "coder": coder}}}
    with pytest.raises(SpeedrunError, match=r"tools of coder a .*coders/a\): npm install a"):
        missing.require(config, None, {"generate"}, local=False)
    missing.say_agents(config)
    assert capsys.readouterr().err.startswith("speedrun: missing: tools of coder a (results/envs")
    (bare / "results/envs/coders/a").mkdir(parents=True)
    assert gaps(config, None) == []


def test_a_gpu_is_required_where_the_jobs_run(
    bare: Path, paper19: dict[str, Any], facts: registry.Registry
) -> None:
    with pytest.raises(SpeedrunError, match="missing: GPU: hardware 8xh100 needs 8"):
        missing.require(paper19, facts, {"train_reference"}, local=True)
    missing.require(paper19, facts, {"train_reference"}, local=False)
    missing.require(paper19, facts, {"upstream", "corpus", "tokenize", "records"}, local=True)


def test_an_interpreter_that_is_not_there_is_missing(bare: Path, nano_config: Any) -> None:
    hardware = {**nano_config["hardware"], "python": "/nowhere/bin/python"}
    said = gaps({**nano_config, "hardware": hardware}, None)
    assert said == ["interpreter /nowhere/bin/python: set hardware.python to one that exists"]


def test_tasks_that_cannot_run_are_said_once(
    bare: Path, nano_config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**nano_config, "not_run": [{"task": "r21c-r22", "reason": "the batch shrinks"}]}
    missing.say_not_run(config)
    assert capsys.readouterr().err == "speedrun: not run: r21c-r22: the batch shrinks\n"
