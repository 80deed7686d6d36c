"""docs/duel.md and docs/examples/time_to_target.yml: what they tell people to type exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from speedrun import cli
from speedrun.stages.duel.conclusion import EXIT_CODES

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "docs/examples/time_to_target.yml"
PAGE = REPOSITORY / "docs/duel.md"


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    whole = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert set(whole) == {"name", True, "permissions", "concurrency", "jobs"}  # on: is YAML's true
    found: dict[str, Any] = whole["jobs"]["duel"]
    return found


def lines(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_every_step_is_an_action_or_a_line(job: dict[str, Any]) -> None:
    assert set(job) == {"runs-on", "timeout-minutes", "env", "steps"}
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "uses", "with", "run", "shell", "if"}
        assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
    checkouts = [s["with"]["path"] for s in job["steps"] if "checkout" in s.get("uses", "")]
    assert checkouts == ["main-branch", "candidate"]


def test_the_shell_lines_parse(job: dict[str, Any]) -> None:
    for line in lines(job):
        subprocess.run(["bash", "-n", "-c", line], check=True)


def test_the_exit_code_of_the_duel_is_that_of_the_step(job: dict[str, Any], tmp_path: Path) -> None:
    command = tmp_path / "main-branch/.venv/bin/speedrun"
    command.parent.mkdir(parents=True)
    for code in (0, 2, 4):
        command.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n', encoding="utf-8")
        command.chmod(0o755)
        ended = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines(job)[-1]],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "GITHUB_STEP_SUMMARY": "summary.md", **job["env"]},
        )  # fmt: skip
        assert ended.returncode == code
        assert "duel main-branch/solution candidate/solution" in ended.stdout
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").count("```") == 6


def commands(text: str) -> list[list[str]]:
    """Return the words of every `speedrun` line of a text, joined over backslashes."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"^\s*(?:\S*/)?speedrun ((?:duel|reproduce) .*)$", joined, re.MULTILINE)
    return [shlex.split(re.split(r"[|#]", line)[0]) for line in found]


@pytest.mark.parametrize("source", [EXAMPLE, PAGE], ids=lambda path: path.name)
def test_every_flag_exists(source: Path) -> None:
    found = commands(source.read_text(encoding="utf-8"))
    assert found
    for words in found:
        assert callable(cli.parser().parse_args(words).run)
    assert any("--no-worse" in words for words in found)


def test_the_help_and_the_page_name_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["duel", "--help"])
    said, page = capsys.readouterr().out, PAGE.read_text(encoding="utf-8")
    for code in {1, *EXIT_CODES.values()}:
        assert f"\n  {code}  " in said and f"\n| {code} |" in page
