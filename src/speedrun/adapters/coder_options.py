"""A coder's YAML and an arm's values over it, checked before any job starts.

A coding agent's YAML is the user's own: a misspelt cap that nobody reads would let the agent run
under another one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from speedrun import schema
from speedrun.adapters import checked
from speedrun.files import SpeedrunError

PLANNED: dict[str, Any] = {"max_nodes": None, "needs_model": True}  # the plan's, of any agent
TEXT = (str, list, dict)  # all other settings are amounts


def keys(coder: dict[str, Any]) -> dict[str, Any]:
    """Return what an arm may set of a coder, with its value where the coder's YAML has none."""
    return {**PLANNED, **_defaults(), **coder} if coder.get("kind") == "command" else coder


def over(coder: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Return a coder with an arm's values over its YAML's.

    What the YAML leaves out and the arm sets to its default stays out: it is the same agent, and
    its arm keeps its digest.
    """
    known = keys(coder)
    said = {key: value for key, value in changed.items() if key in coder or value != known[key]}
    return {**coder, **said, "name": coder["name"]}


def check(coder: dict[str, Any], key: str) -> None:
    """Refuse what no node could work with; SpeedrunError in one line with the key."""
    from speedrun.adapters.coders import MAKERS

    file = f"config/coder/{coder['name']}.yaml"
    checked.one_of(coder.get("kind", coder["name"]), MAKERS, "kind", file)
    if coder.get("max_nodes") is not None:
        checked.count(coder["max_nodes"], f"{key}.max_nodes")
    if coder.get("kind") == "command":
        _check_agent(coder, key, file)


def _check_agent(coder: dict[str, Any], key: str, file: str) -> None:
    from speedrun.adapters.coders import NOT_SETTINGS, box
    from speedrun.adapters.coders.command import Settings

    checked.keys(coder, keys({"name": "", "kind": "command"}), file)
    settings = {name: value for name, value in coder.items() if name not in NOT_SETTINGS}
    if not settings.get("command"):
        raise SpeedrunError(f"config: {key}.command lists nothing: give the agent's command line")
    try:
        schema.from_dict(Settings, settings)
    except SpeedrunError as error:
        raise SpeedrunError(f"config: {key} ({file}): {error}") from error
    for name in settings:
        if not isinstance(settings[name], TEXT):
            checked.amount(settings[name], f"{key}.{name}")
    kind = settings.get("sandbox", box.SANDBOXES[0])
    if kind == "apptainer":
        box.demand(kind, str(coder["name"]))  # known, but not for agents: it says why
    checked.one_of(kind, box.SANDBOXES, "sandbox", key)
    for text in (*settings["command"], *settings.get("environment", {}).values()):
        _check_placeholders(text, f"{key} ({file})")


def _check_placeholders(text: str, place: str) -> None:
    from speedrun.adapters.coders.command import FILES, PLACEHOLDER, PLACEHOLDERS

    for name in PLACEHOLDER.findall(text) if text != FILES else ():
        checked.one_of(name, PLACEHOLDERS, "placeholder", place)


def _defaults() -> dict[str, Any]:
    """Return the settings of config/coder/command.yaml, as a YAML that leaves them out has them."""
    from speedrun.adapters.coders.command import Settings

    return dataclasses.asdict(Settings(command=[]))


def require_requirements(repository: Path, coder: dict[str, Any]) -> None:
    """Stop where the file that an agent's environment is built from is missing."""
    from speedrun.adapters.coders.command import REQUIREMENTS

    wanted = coder.get("requirements")
    if wanted and not (repository / REQUIREMENTS / wanted).is_file():
        raise SpeedrunError(
            f"coder {coder['name']}: requirements {REQUIREMENTS / wanted} is missing: write it (a "
            "line such as my-agent==1.0), or leave requirements out"
        )
