"""How a sweep audits: the values of its own, and its track's policy where it has none."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from speedrun import specs, trials
from speedrun.adapters import arms, checked
from speedrun.rules import RULES

POLICY = ("rounds", "references", "drift_rounds", "noise_runs", "holdout_runs")
REFERENCES = ("interleaved", "reused")
REVIEWER = "reviewer"


def resolve(config_folder: Path, config: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the configuration with its audit in plain values, and the models that it asks.

    The reviewer moves to a section of its own, so that another one times nothing again. Errors:
    SpeedrunError in one line that names the key.
    """
    checked.keys(config["track"].get("rules", []), (*RULES, trials.READS), "track.rules")
    given = dict(config["audit"])
    name = given.pop(REVIEWER, None)
    checked.keys(given, [one.name for one in fields(trials.AuditPlan)], "audit")
    policy = checked.mapping(config["track"].get("audit_policy", {}), "track.audit_policy")
    checked.keys(policy, POLICY, "track.audit_policy")
    audit = {key: value for key, value in given.items() if key not in POLICY}
    for key in POLICY:
        audit[key] = _value(given, policy, key)
    reviewer, used = _reviewer(config_folder, name)
    return {**config, "audit": audit, "review": {REVIEWER: reviewer}}, used


def _value(given: dict[str, Any], policy: dict[str, Any], key: str) -> Any:
    """Return the sweep's value, else the track's, else the usual one, checked."""
    usual = getattr(trials.AuditPlan(), key)
    value = next((one[key] for one in (given, policy) if one.get(key) is not None), usual)
    if key == "references":
        return checked.one_of(value, REFERENCES, "audit.references", "the audit")
    return checked.count(value, f"audit.{key}", least=1 if key == "rounds" else 0)


def _reviewer(config_folder: Path, name: Any) -> tuple[dict[str, Any] | None, set[str]]:
    """Return what decides the reviewer's replies, None without one."""
    if name in checked.OFF:
        return None, set()
    model = arms.model_option(config_folder, str(name))
    return specs.deciding(model), {model["name"]}
