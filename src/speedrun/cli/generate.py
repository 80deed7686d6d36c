"""The verb that asks a coder for one node: generate."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files, schema, trials
from speedrun.cli import options
from speedrun.cli.options import json_value, path, required
from speedrun.cli.provenance import Draft, recorded

if TYPE_CHECKING:
    from speedrun.adapters.device_hours import DeviceHours
    from speedrun.adapters.models import Model
    from speedrun.stages.generate import Coder, NodeInputs

ARTIFACTS = ["solution", "prompt.md", "replies", "parent.json", "calls.jsonl"]


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    _add_generate(options.verb(verbs, "generate", run_generate, "ask the coder for one node"))


def _add_generate(parser: argparse.ArgumentParser) -> None:
    required(
        parser,
        public=(path, "results/tasks/TRACK/TASK/public"),
        trial=(path, "the trial's folder"),
        node=(int, "the node's number, from 1"),
        root_analysis=(path, "analysis.json of a reference run of the start record"),
        arm=(json_value, "the arm: coder, scaffold, hints, model, mode"),
    )
    parser.add_argument("--seed", type=int, default=0, help="the trial's seed")
    parser.add_argument("--operation", type=json_value, default={}, help=options.OPERATION)
    parser.add_argument("--replies", type=path, default=path("replies/coder"), help="recordings")
    parser.add_argument("--private", type=path, help="the private folder, for the oracle alone")
    parser.add_argument("--start", type=path, help="cumulative: the trial's start/, of chain")
    parser.add_argument("--draft", type=path, help="the node's draft with its preflight.json")
    parser.add_argument("--out", type=path, help="the folder to write; TRIAL/node_N if absent")
    parser.add_argument(
        "--repository", type=path, default=path("."), help="what an arm's documents are relative to"
    )
    parser.add_argument("--print-prompt", action="store_true", help="show the prompt, ask nobody")
    parser.add_argument(
        "--reply", type=path, help="with --print-prompt: an unreadable reply, to show the re-ask"
    )


def run_generate(given: argparse.Namespace) -> None:
    """Make one node's solution, or print what it would be asked."""
    from speedrun.stages import generate

    link = trials.link(given.start) if given.start else None
    if link is not None and link.ended:
        _skip(given, link)
        return
    inputs = _inputs(given)
    if given.print_prompt:
        reply = given.reply.read_text(encoding="utf-8") if given.reply else None
        options.show(generate.print_prompt(inputs, reply))
        return
    _ask(given, inputs)


def _node(given: argparse.Namespace) -> Path:
    folder: Path = given.trial / f"node_{given.node}"
    return folder


def _skip(given: argparse.Namespace, link: trials.Link) -> None:
    """Write a node of a chain that has ended."""
    from speedrun import search
    from speedrun.stages import chain

    if given.print_prompt:
        raise files.SpeedrunError(f"nothing is asked: {link.reason}")
    generation = search.generation_of(search.scaffold(given.arm["scaffold"]), given.node)
    out = given.out or _node(given)
    with recorded("generate", out / "generate.record.json") as record:
        parent = chain.skip_node(given.node, generation, link, out)
        record.read(given.start / trials.LINK)
        _release(given, device_hours(given.operation, trials.name(given.trial)))
        _describe(record, given, parent)
        record.tokens, record.cost_usd = 0, 0.0


def _inputs(given: argparse.Namespace) -> NodeInputs:
    """Return all that decides the question, passages that an arm retrieves among it."""
    from speedrun import search
    from speedrun.adapters import coders, retrieval
    from speedrun.stages import generate

    arm = given.arm
    _check_arm(arm)
    inputs = generate.NodeInputs(
        public=given.public,
        trial=given.trial,
        node=given.node,
        scaffold=search.scaffold(arm["scaffold"]),
        root_analysis=given.root_analysis,
        seed=given.seed,
        hints=arm["hints"],
        knowledge=[given.repository / name for name in arm.get("knowledge", [])],
        style=coders.prompt_style(arm["coder"]),
        mode=arm["mode"],
        memory="memory" in arm,
        summary="summary" in arm,
        start=given.start,
    )
    found = arm.get("retrieval")
    setting = {**found, "folder": given.repository / found["folder"]} if found else None
    return retrieval.add_passages(inputs, setting)


def _check_arm(arm: dict[str, Any]) -> None:
    """Refuse an arm written by hand that leaves out what every resolved arm has."""
    for key in ("coder", "scaffold", "hints", "mode"):
        if key not in arm:
            raise files.SpeedrunError(
                f"--arm has no {key!r}: take the line that `snakemake -n -p` prints"
            )


def _ask(given: argparse.Namespace, inputs: NodeInputs) -> None:
    """Ask the coder while the device time of what it may write is held."""
    from speedrun.stages import generate

    out = given.out or _node(given)
    hours, heard = device_hours(given.operation, trials.name(given.trial)), list[schema.Proposal]()
    with recorded("generate", out / "generate.record.json") as record:
        _note_inputs(record, given)
        with _held(given, hours):
            parent = generate.generate(inputs, _listening(make_coder(given, out), heard), out)
        if parent.outcome is not None:
            _release(given, hours)
        _describe(record, given, parent)
        record.params["prompt_templates"] = generate.template_digest(inputs.style, inputs.mode)
        record.params["reach"] = ", ".join(heard[-1].reach)
        count_calls(record, out / "calls.jsonl")


def _note_inputs(record: Draft, given: argparse.Namespace) -> None:
    started = given.start / trials.ANALYSIS if given.start else given.root_analysis
    record.read(given.public / "task.json", started)
    if given.draft:
        record.read(given.draft / "parent.json", given.draft / "preflight.json")


@contextlib.contextmanager
def _held(given: argparse.Namespace, hours: DeviceHours) -> Iterator[None]:
    """Hold the worst case of the node's run; of its preflight too until that has been run."""
    node, draft = _node(given), _node(given) / "draft"
    with contextlib.ExitStack() as stack:
        if given.draft:
            settle_preflight(hours, draft)
        elif "preflight" in given.arm and given.operation:
            stack.enter_context(hours.reserved(draft, _preflight_hours(given)))
        stack.enter_context(hours.reserved(node))
        yield


def _release(given: argparse.Namespace, hours: DeviceHours) -> None:
    """Let the device time of a node go that has no code, its preflight's too."""
    for folder in (_node(given), _node(given) / "draft"):
        hours.release(folder)


def _preflight_hours(given: argparse.Namespace) -> float:
    """Return the worst case of the short run: its share of a whole run's."""
    whole_s = float(given.arm["hardware"]["timeout_s"])
    share = min(1.0, float(given.arm["preflight"]["timeout_s"]) / whole_s)
    return share * float(given.operation["device_hours_a_run"])


def settle_preflight(hours: DeviceHours, draft: Path) -> None:
    """Write down what a draft's short run cost; nothing where it was not run."""
    from speedrun.stages import preflight

    checked = preflight.load(draft)
    hours.release(draft)
    hours.settle(draft, checked.device_seconds, checked.devices)


def _listening(coder: Coder, heard: list[schema.Proposal]) -> Coder:
    """Return the coder, what it answers being kept: parent.json does not hold all of it."""

    def ask(request: Any) -> schema.Proposal:
        heard.append(coder(request))
        return heard[-1]

    return ask


def make_coder(given: argparse.Namespace, place: Path) -> Coder:
    """Return the arm's coder with its model, if it has one, and its draft, if that is written."""
    from speedrun.adapters import coders
    from speedrun.adapters.coders.drafted import Drafted

    arm = given.arm
    model = open_model(arm, given.operation, trials.name(given.trial))
    coder = coders.make_coder(
        arm["coder"], private=given.private, replies=given.replies, model=model, place=place,
        repository=given.repository,
    )  # fmt: skip
    return Drafted(coder, given.draft) if given.draft else coder


def open_model(arm: dict[str, Any], operation: dict[str, Any], owner: str) -> Model | None:
    """Return the arm's model, None for an arm that asks none."""
    if arm["model"]["kind"] == "none":
        return None
    from speedrun.adapters import models

    return models.open_model(arm["model"], operation, owner)


def device_hours(operation: dict[str, Any], owner: str) -> DeviceHours:
    """Return the account of an owner's device time."""
    from speedrun.adapters.device_hours import DeviceHours

    return DeviceHours(operation, owner)


def _describe(record: Draft, given: argparse.Namespace, parent: schema.Parent) -> None:
    arm = given.arm
    record.params = {
        "arm": given.trial.parent.name,
        "coder": arm["coder"]["name"],
        "scaffold": arm["scaffold"]["name"],
        "hints": "+".join(arm["hints"]) or "none",
        "model": arm["model"]["name"],
        "mode": arm["mode"],
        "seed": given.seed,
        "parent": parent.parent,
        "action": parent.action,
        "generation": parent.generation,
        "why": parent.why,
        **{f"note.{name}": value for name, value in parent.notes.items()},
    }
    record.measured(lines_added=parent.lines_added, lines_removed=parent.lines_removed)
    record.artifacts = list(ARTIFACTS)


def count_calls(record: Draft, calls: Path) -> None:
    """Sum tokens and cost over the calls of a file; one unknown makes the sum unknown."""
    lines = [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]
    tokens = [line[name] for line in lines for name in ("tokens_in", "tokens_out")]
    costs = [line["cost_usd"] for line in lines]
    record.tokens = None if None in tokens else sum(tokens)
    record.cost_usd = None if None in costs else sum(costs)
