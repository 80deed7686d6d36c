"""The verb classify: one blind pass over a record chain's steps, by any configured model."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files
from speedrun.cli import options
from speedrun.cli import records as records_verb
from speedrun.cli.options import path
from speedrun.cli.provenance import recorded
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.classification import Label
    from speedrun.registry import Registry, Transition
    from speedrun.stages.classify import Ask, Row
    from speedrun.stages.classify.sheet import Sheet

STORE, PURPOSE = Path("store"), "classify"
HELP = "have a model classify the steps of a record chain, each without sight of any label"


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    parser = options.verb(verbs, "classify", run_classify, HELP)
    parser.add_argument("--model", required=True, help="config/model")
    parser.add_argument("--track", default="nanogpt", help="default: nanogpt")
    parser.add_argument("--records", type=numbers, help="steps to these, as 2,3; absent: all")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another pass")
    parser.add_argument("--out", type=path, help="results/classify/TRACK/MODEL.sSEED.csv if absent")
    parser.add_argument("--labels", type=path, help="rubric.md, labels.csv; default: the track's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="such as models.NAME.base_url=http://host/v1 or budget.sweep.usd=5; may be repeated",
    )  # fmt: skip
    parser.add_argument("--repository", type=path, default=path(""), help="where config/ lies")
    records_verb.add_sources(parser.add_argument_group("the sources"))


def numbers(text: str) -> list[int]:
    """Parse record numbers with commas between them."""
    try:
        return sorted({int(word) for word in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list as 2,3") from error


def run_classify(given: argparse.Namespace) -> None:
    """Read every chosen step, then compare with the committed labels."""
    from speedrun.adapters import hydra_config
    from speedrun.cli.classify_sources import Sources

    registry = records_verb.track_registry(given)
    steps, known = chosen(registry, given.records), list(chosen(registry, None))
    labels = given.labels or Path("tracks") / given.track / "classification"
    rubric = _rubric(labels / "rubric.md")
    config = hydra_config.option(given.repository / "config", "model", given.model)
    ask = reader(given, config)
    sources = Sources(records_verb.open_sources(given, registry), registry)
    sources.prefetch(steps.values())
    card = _identity(given, registry, rubric, config)
    shown = {number: partial(sources.sheet, step) for number, step in steps.items()}
    out = given.out or Path("results/classify") / given.track / f"{given.model}.s{given.seed}.csv"
    read = _pass(out, card, shown, known, rubric, ask)
    options.show("\n".join(compared(read, labels / "labels.csv", known)))


def _pass(
    out: Path,
    card: Mapping[str, Any],
    shown: Mapping[int, Callable[[], Sheet]],
    known: Sequence[int],
    rubric: str,
    ask: Ask,
) -> dict[int, Label]:
    """Make or finish the pass and leave its record; return the labels of the steps asked for."""
    from speedrun.stages import classify

    classify.begin(out, card)
    with recorded(PURPOSE, out.with_name(f"{out.stem}.{PURPOSE}.record.json")) as record:
        rows = classify.read_steps(list(shown), known, lambda n: shown[n](), rubric, ask, out)
        read, unread = _told(rows)
        record.params = dict(card)
        record.measured(read=len(read), unread=unread)
        record.artifacts = [out.name] if read else []
    options.show(f"{out}: {len(read)} read, {unread} unread")
    return read


def chosen(registry: Registry, wanted: Sequence[int] | None) -> dict[int, Transition]:
    """Return the steps by the number that they end at."""
    known = {pair.target.number: pair for pair in registry.transitions}
    for number in wanted or ():
        if number not in known:
            raise SpeedrunError(
                f"--records {number}: no step ends there; they end at {min(known)} to {max(known)}"
            )
    return {number: known[number] for number in wanted or known}


def _rubric(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpeedrunError(f"{file} cannot be read: give its folder with --labels") from error


def _identity(
    given: argparse.Namespace, registry: Registry, rubric: str, config: Mapping[str, Any]
) -> dict[str, Any]:
    from importlib import resources

    from speedrun import specs
    from speedrun.stages.classify import TEMPLATE

    template = resources.files("speedrun").joinpath(f"prompts/{TEMPLATE}").read_text("utf-8")
    return {
        "track": registry.track, "commit": registry.upstream.commit, "seed": given.seed,
        "model": {key: config[key] for key in specs.MODEL_KEYS if key in config},
        "rubric": files.digest_text(rubric), "template": files.digest_text(template),
    }  # fmt: skip


def reader(given: argparse.Namespace, config: Mapping[str, Any]) -> Ask:
    """Return how the model is asked; its replies and what they cost are kept in the store."""
    from speedrun.adapters import models
    from speedrun.stages.classify import Unread

    purse = f"{PURPOSE}/{given.track}/{given.model}.s{given.seed}"  # what a cap is counted over
    operation = {"sweep": purse, **operational(given.set, given.model)}
    model = models.open_model(config, operation, f"{PURPOSE}/{given.track}", STORE)

    def ask(prompt: str, number: int, turn: int) -> models.Reply:
        key = models.CallKey(given.seed, number, turn, PURPOSE)
        try:
            return model.ask([{"role": "user", "content": prompt}], key)
        except models.ContextTooLong as error:
            raise Unread("the step is longer than the model's context") from error

    return ask


def operational(words: Sequence[str], model: str) -> dict[str, Any]:
    """Return what --set changes: how the model is reached, and caps. Errors: SpeedrunError."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from speedrun import specs
    from speedrun.adapters import checked

    for word in words:
        if "=" not in word:
            raise SpeedrunError(f"--set {word}: write KEY=VALUE")
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist([w.lstrip("+") for w in words]))
    except (OmegaConfBaseException, ValueError, TypeError, YAMLError) as error:
        raise SpeedrunError(f"--set {' '.join(words)}: {str(error).splitlines()[0]}") from error
    checked.keys(given, ("models", "budget"), "--set")
    settings = checked.mapping(given.get("models", {}), "models")
    checked.keys(settings, (model,), "models")
    for name, values in settings.items():
        checked.keys(checked.mapping(values, f"models.{name}"), specs.OPERATIONAL_KEYS, "models")
    budget = checked.mapping(given.get("budget", {}), "budget")
    checked.keys(budget, ("sweep",), "budget")
    for unit, cap in checked.mapping(budget.get("sweep", {}), "budget.sweep").items():
        checked.keys((unit,), ("usd", "tokens"), "budget.sweep")
        checked.amount(cap, f"budget.sweep.{unit}")
    return {"models": settings, "budget": budget}


def _told(rows: Iterable[Row]) -> tuple[dict[int, Label], int]:
    """Print each step as it is done; return the labels and how many steps have none."""
    labels: dict[int, Label] = {}
    unread = 0
    for row in rows:
        if row.label is None:
            unread += 1
            options.show(f"{row.number}: unread: {row.why}")
            continue
        labels[row.number] = row.label
        words = row.label.depth, row.label.provenance, row.label.kind, row.label.confidence
        options.show(f"{row.number}: {' '.join(words)}")
    return labels, unread


def compared(read: Mapping[int, Label], file: Path, known: Sequence[int]) -> list[str]:
    """Return the lines of agreement with the committed labels."""
    from speedrun import classification
    from speedrun.stages.history.agreement import agreement

    if not read or not file.is_file():
        return [f"nothing to compare with {file}"]
    committed = classification.load(file, known)
    lines = [f"agreement with {file}, Cohen's kappa (linear weights on a scale in brackets):"]
    for one in agreement({n: committed[n] for n in read}, read):
        kappa = "undefined" if one.kappa is None else f"{one.kappa:.2f}"
        weighted = "" if one.weighted is None else f" ({one.weighted:.2f})"
        lines.append(f"  {one.field}: {one.same} of {one.n} equal, kappa {kappa}{weighted}")
    return lines
