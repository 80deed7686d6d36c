"""The verb plan: what a sweep is and will take, before anything is spent."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun.cli import options
from speedrun.cli.options import path
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.adapters.forecast import Forecast

DEFAULT = "quickstart"  # as for snakemake without --config sweep=
HELP = "count a sweep's trials, jobs, device hours and dollars; spends nothing"


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    parser = options.verb(verbs, "plan", run_plan, HELP)
    parser.add_argument(
        "words", nargs="*", metavar="key=value", help="sweep=NAME, and overrides as in overrides="
    )
    parser.add_argument("--json", action="store_true", help="every number, as JSON")
    parser.add_argument(
        "--repository", type=path, default=Path(), help="where config/ lies; the present folder"
    )


def run_plan(given: argparse.Namespace) -> None:
    """Print what the sweep will take."""
    from speedrun.adapters import forecast, missing, sweep

    name, overrides = _split(given.words)
    if not (given.repository / "config").is_dir():
        raise SpeedrunError(f"no config/ in {given.repository}: go there, or give --repository")
    config = sweep.load(given.repository / "config", name, overrides)
    sweep.check_inputs(given.repository, config)
    missing.say_agents(config)
    found = forecast.forecast(given.repository, config)
    named = any(word.startswith("sweep=") for word in given.words)
    said = [] if named else [f"no sweep= was given: this is {DEFAULT}"]
    said += lines(found, config, name)
    options.show(as_json(found) if given.json else "\n".join(said))


def _split(words: list[str]) -> tuple[str, list[str]]:
    """Return the sweep's name and the overrides; the order does not matter."""
    for word in words:
        if "=" not in word:
            raise SpeedrunError(f"{word!r} is no key=value: write speedrun plan sweep={word}")
    names = [word.partition("=")[2] for word in words if word.startswith("sweep=")]
    rest = [word for word in words if not word.startswith("sweep=")]
    return (names[-1] if names else DEFAULT), rest


def as_json(found: Forecast) -> str:
    """Return every number of a forecast; null is what is not known or not bounded."""
    return json.dumps(dataclasses.asdict(found), indent=1)


def lines(found: Forecast, config: dict[str, Any], asked: str) -> Iterator[str]:
    """Yield the forecast as a person reads it. ``asked``: the sweep, as it was asked for."""
    yield f"sweep {found.sweep}: track {found.track} on {found.hardware}"
    if found.unjudged:
        yield (
            f"{found.unjudged} of {found.tasks} tasks have no recorded judgements: winners stay "
            "unjudged. judge=model judge.model=NAME asks a model"
        )
    yield (
        f"{found.trials:,} trials = {found.tasks} tasks x {found.arms} arms x {found.seeds} seeds, "
        f"{found.nodes:,} nodes"
        + (f"; {found.not_run} tasks not run here" if found.not_run else "")
    )
    yield from _jobs(found, asked)
    yield ""
    yield from _device(found, config)
    if found.models:
        yield ""
        yield from _dollars(found)
    yield ""
    yield from _budget(found)


def _jobs(found: Forecast, asked: str) -> Iterator[str]:
    from speedrun.jobs import CELL_JOBS, PLAN_JOBS

    total = sum(found.jobs.values())
    most = ", ".join(f"{rule} {count:,}" for rule, count in list(found.jobs.items())[:6])
    yield f"{total:,} jobs from scratch: {most}"
    if total > CELL_JOBS:
        cells = '"tasks=TASK"' if found.tasks > 1 else '"only={COLUMN: [VALUE]}"'
        yield f"  above {CELL_JOBS:,} jobs planning takes minutes and gigabytes: run cells, as"
        yield f"  docs/sweeps.md says ({total // found.tasks:,} jobs a task), such as"
        yield f"  snakemake trials --config sweep={asked} overrides='[{cells}]'"
        if found.tasks > 1 and total // found.tasks > CELL_JOBS:
            yield '  or less, with "only={model: [MODEL]}" or "seeds=[0]" beside it'
    if total > PLAN_JOBS:
        yield f"  above {PLAN_JOBS:,} snakemake refuses, unless force=1 stands after --config"


def _device(found: Forecast, config: dict[str, Any]) -> Iterator[str]:
    """Yield device hours by kind of work, with their share of what is expected."""
    unit = "CPU" if config["hardware"]["device"] == "cpu" else "GPU"
    expected = sum(share.expected for share in found.device_hours.values())
    yield f"{unit + ' hours':<12}{'runs':>10}{'expected':>12}{'share':>7}{'worst case':>12}"
    for kind, share in found.device_hours.items():
        if share.runs:
            part = f"{share.expected / expected:.0%}" if expected else "?"
            known = "unknown" if share.unknown == share.runs else _number(share.expected)
            yield f"  {kind:<10}{share.runs:>10,}{known:>12}{part:>7}{_number(share.worst):>12}"
    runs = sum(share.runs for share in found.device_hours.values())
    worst = sum(share.worst for share in found.device_hours.values())
    yield f"  {'together':<10}{runs:>10,}{_number(expected):>12}{'':>7}{_number(worst):>12}"
    yield from _wrapped(_origins(found, config))
    unknown = sum(share.unknown for share in found.device_hours.values())
    if unknown:
        yield f"  unknown: the time of {unknown:,} runs, which count as 0 in what is expected"


def _origins(found: Forecast, config: dict[str, Any]) -> str:
    slowdown = config["hardware"].get("slowdown", 1.0)
    words = {
        "measured here": "measured here",
        "published": f"published x slowdown {slowdown:g} (compiling and validation come on top)",
        "record.yaml": "from record.yaml, on its author's machine",
        "unknown": "unknown",
    }
    said = [f"{count} {words[origin]}" for origin, count in found.hours_from.items()]
    return (
        f"times of records: {'; '.join(said)}. A node counts as its start record, an audit as if "
        f"every trial had a winner: {_audit(config)}; the worst case is every run's cap."
    )


def _audit(config: dict[str, Any]) -> str:
    """Return what an audit runs, in words."""
    from speedrun.plan import unseen_runs

    audit = config["audit"]
    reused = audit["references"] == "reused"
    beside = (
        f"the start in {min(audit['drift_rounds'], audit['rounds'])}"
        if reused
        else "start and target in each"
    )
    said = f"{audit['rounds']} rounds of the winners, {beside}"
    if unseen_runs(config):
        runs = f"{audit['noise_runs']} noise and {audit['holdout_runs']} hold-out"
        said += f", and {runs} runs of each winner and record"
    return said


def _dollars(found: Forecast) -> Iterator[str]:
    head = f"{'models':<22}{'calls':>10}{'M tokens in':>13}{'M out':>9}{'expected USD':>14}"
    yield f"{head}{'worst USD':>14}"
    for name, spend in found.models.items():
        asked = spend.asked
        counts = (
            f"{asked.calls:>10,.0f}{asked.tokens_in / 1e6:>13,.2f}{asked.tokens_out / 1e6:>9,.2f}"
        )
        usd = "unknown" if spend.usd is None else f"{spend.usd:,.2f}"
        worst = "no bound" if spend.usd_worst is None else f"{spend.usd_worst:,.2f}"
        basis = f"  measured on {spend.measured_nodes} nodes" if spend.measured_nodes else ""
        yield f"  {name:<20}{counts}{usd:>14}{worst:>14}{basis}"
    if any(spend.usd is None for spend in found.models.values()):
        yield "  unknown: no price in config/model/<name>.yaml (prices) nor in genai-prices"
    if any(spend.usd_worst is None for spend in found.models.values()):
        yield "  no bound: without its price, context_tokens or max_tokens only a cap is one"
    if not all(spend.measured_nodes for spend in found.models.values()):
        yield from _wrapped(_assumptions())


def _assumptions() -> str:
    from speedrun import estimate
    from speedrun.adapters.facts import START_CHARS

    return (
        f"Assumed where no node was measured: {estimate.CHARS_A_TOKEN} characters a token; "
        f"{estimate.REPLY_TOKENS:,} tokens a reply, reasoning included; every prompt holds the "
        f"start code ({START_CHARS:,} characters where it is not fetched yet), hints, documents, "
        f"{estimate.PROMPT_CHARS:,} further characters and {estimate.ATTEMPT_CHARS:,} for each of "
        f"up to {estimate.ATTEMPTS_SHOWN} earlier attempts; calls a node: direct "
        f"{estimate.TURNS['direct']}, aider {estimate.TURNS['aider']}, other agents "
        f"{estimate.AGENT_TURNS:.0f}, each sending what came before again."
    )


def _budget(found: Forecast) -> Iterator[str]:
    """Yield the caps, and the most that can be spent under them."""
    for scope, caps in found.budget.items():
        said = [f"{unit} {'no cap' if cap is None else _number(cap)}" for unit, cap in caps.items()]
        yield f"budget a {scope}: {', '.join(said)}"
    hours = _number(found.device_hours_worst)
    yield f"at worst, under these caps: {hours} device hours (no cap stops references)"
    if found.models:
        usd = "without a bound" if found.usd_worst is None else f"{found.usd_worst:,.2f}"
        tokens = "without a bound" if found.tokens_worst is None else f"{found.tokens_worst:,.0f}"
        yield f"  USD {usd}; tokens {tokens}"
        if found.usd_worst is None:
            yield "  to bound the dollars: budget.sweep.usd=AMOUNT or budget.trial.usd=AMOUNT"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="  ")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
