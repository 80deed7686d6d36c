"""The workflow's command line: words that became targets, and sweeps too large to plan."""

from __future__ import annotations

from typing import Any

import pytest

from speedrun.adapters import workflow
from speedrun.files import SpeedrunError


@pytest.mark.parametrize(
    "line", ["-c2", "--config sweep=a overrides=b -c2", "-C sweep=a -n", "-n --config sweep=a"]
)
def test_settings_that_stand_after_config_are_taken(line: str) -> None:
    workflow.check_words(line.split())


@pytest.mark.parametrize("line", ["sweep=a", "-c2 sweep=a", "--config sweep=a -c2 overrides=b"])
def test_a_setting_that_became_a_target_is_refused(line: str) -> None:
    with pytest.raises(SpeedrunError, match="is a target here: write all such words after one"):
        workflow.check_words(line.split())


def test_what_is_too_large_is_planned_if_somebody_insists(nano_config: dict[str, Any]) -> None:
    large = {**nano_config, "seeds": list(range(3000))}
    with pytest.raises(SpeedrunError, match=r"jobs, which take .* run it in cells"):
        workflow.check_size(large, force=False)
    workflow.check_size(large, force=True)
    workflow.check_size(nano_config, force=False)
