"""One search without a target record: a task of its own, its nodes made by the verbs of a sweep."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from speedrun import files, plan, schema, specs, trials
from speedrun.cli.venue import Venue
from speedrun.files import SpeedrunError
from speedrun.interleave import Run

ARM, HINT = "reproduce", "l2"  # the hint is shown as a description
FOLDER = Path("results/reproduce")


@dataclass(frozen=True)
class Attempt:
    """One search: where it runs, the frozen code that it starts from, and the hint."""

    venue: Venue
    code: Path
    hint: str

    @cached_property
    def arm(self) -> dict[str, Any]:
        """What decides the nodes, the machine included; not their number."""
        return next(one.arm for one in plan.trials(self.venue.config) if one.name == ARM)

    @cached_property
    def key(self) -> str:
        """The digest of all that decides the nodes."""
        track = schema.to_dict(self.venue.track)
        code = files.digest_tree(self.code)
        return files.digest_value([track, self.arm, code, self.hint, self._facts("")])[:16]

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return FOLDER / self.key

    @property
    def trial(self) -> Path:
        """The folder of the nodes."""
        return self.folder / "trials" / f"{ARM}-{self.key[:8]}" / "s0"

    @property
    def nodes(self) -> range:
        """The nodes' numbers; some coders have fewer than they are asked for."""
        return range(1, self.venue.config["arms"][ARM]["n_nodes"] + 1)

    @cached_property
    def operation(self) -> dict[str, Any]:
        """Caps, endpoints and prices, for the ledger: as of a sweep of this name."""
        return {**specs.operation(self.venue.config), "sweep": f"{ARM}-{self.key}"}

    @property
    def operation_words(self) -> list[str]:
        """The same as the verbs take it."""
        return ["--operation", files.canonical_json(self.operation)]

    def charged(self, run: Run) -> Run:
        """Return a run of the duel at the sweep's expense, as an audit's is."""
        from speedrun.adapters.device_hours import DeviceHours

        budget = {"sweep": self.operation["budget"]["sweep"]}
        hours = DeviceHours({**self.operation, "budget": budget}, f"duel/{self.key}")

        def paid(
            solution: Path, entry: str, out: Path, seed: int, cpu: int | None
        ) -> tuple[schema.RunExit, schema.Analysis]:
            with hours.reserved(out):
                ended, found = run(solution, entry, out, seed, cpu)
            hours.settle(out, found.device_seconds, max(1, len(found.gpus)))
            return ended, found

        return paid

    def _facts(self, rules: str) -> dict[str, Any]:
        values = specs.task(self.venue.config, "code-faster")
        return {**values, "task": f"{ARM}-{values['track']}", "rules": rules}

    def prepare(self) -> None:
        """Write the task and run the given code once, which the search compares with.

        Errors: SpeedrunError where that run fails; one above the target loss is none.
        """
        from speedrun.stages import task

        rules = self.venue.repository / "tracks" / self.venue.track.name / "rules.md"
        facts = schema.from_dict(schema.TaskFacts, self._facts(rules.read_text(encoding="utf-8")))
        hints = {HINT: self.hint} if self.hint else {}
        try:
            source = files.read_tree(self.code)
        except UnicodeDecodeError as error:
            raise SpeedrunError(f"{self.code} holds what is no UTF-8 text: {error}") from None
        files.write_tree(self.folder / "task/public", task.public_files(source, hints, facts))
        # There is no target, whose own findings the rules would excuse: the start excuses nothing.
        files.write_tree(self.folder / "task/private/target", source)
        self._run(self.root, "--solution", str(self.code))
        found = self.analysis(self.root)
        if found.outcome not in (schema.Outcome.OK, schema.Outcome.MISSED_TARGET):
            raise SpeedrunError(
                f"the given code itself fails ({found.outcome}: {found.reason}); see {self.root}"
            )

    @property
    def root(self) -> Path:
        """The given code's own run."""
        return self.folder / "root"

    def node(self, number: int) -> Path:
        """Return a node's folder."""
        return self.trial / f"node_{number}"

    def analysis(self, folder: Path) -> schema.Analysis:
        """Return what is known of a run."""
        return schema.load(schema.Analysis, folder / trials.ANALYSIS)

    def make_node(self, number: int) -> None:
        """Make a node, or what of it is not there yet; a reply that was paid for is kept."""
        folder, root = self.node(number), str(self.root / trials.ANALYSIS)
        if not (folder / "generate.record.json").is_file():
            verb(
                "generate", "--public", str(self.folder / "task/public"), "--trial",
                str(self.trial), "--node", str(number), "--root-analysis", root,
                "--arm", files.canonical_json(self.arm), *self.operation_words,
                "--repository", str(self.venue.repository),
            )  # fmt: skip
        more = ["--root-analysis", root, "--task", str(self.folder / "task")]
        self._run(folder, "--parent", str(folder / "parent.json"), analyze=more)

    def _run(self, folder: Path, *more: str, analyze: list[str] | None = None) -> None:
        """Train and analyse; train keeps a finished run, and both are the verbs of a sweep."""
        bench, probed = self.venue.bench, bool(self.venue.track.probe_contexts)
        probes = bench.shards / "private/probes/set_00"
        words = ["--shards", str(bench.shards), "--folder", str(folder)]
        manifest = ["--manifest", str(bench.manifest)] if bench.manifest else []
        contexts = ["--probes", str(probes / "contexts.npy")] if probed else []
        targets = ["--targets", str(probes / "targets.npy")] if probed else []
        spec, track = files.canonical_json(self.venue.spec), schema.to_dict(self.venue.track)
        verb(
            "train", *words, *manifest, *contexts, *more,
            "--entry", self.venue.track.entry, "--spec", spec,
        )  # fmt: skip
        verb(
            "analyze", *words, *targets, *(analyze or []),
            "--track", files.canonical_json(track), *self.operation_words,
        )  # fmt: skip

    def row(self, number: int) -> dict[str, Any]:
        """Return what a person wants to know of a node."""
        folder = self.node(number)
        parent = schema.load(schema.Parent, folder / "parent.json")
        record = schema.load(schema.StageRecord, folder / "generate.record.json")
        found = self.analysis(folder)
        return {
            "node": number,
            "parent": parent.parent,
            "action": parent.action,
            "outcome": str(found.outcome),
            "val_loss": found.val_loss,
            "time_s": found.time_s,
            "tokens": record.tokens,
            "usd": record.cost_usd,
            "reason": found.reason,
        }

    def line(self, number: int) -> str:
        """Return a node in one line."""
        row = self.row(number)
        clock = "" if row["time_s"] is None else f" {row['time_s']:.2f} s"
        return f"node {number} ({row['action']}): {row['outcome']}{clock} {row['reason']}".strip()

    def table(self) -> str:
        """Return the nodes as aligned text, the given code first."""
        import pandas as pd

        root = self.analysis(self.root)
        first = {"node": 0, "action": "given", "outcome": str(root.outcome)}
        first |= {"val_loss": root.val_loss, "time_s": root.time_s}
        rows = [first, *(self.row(number) for number in self.nodes)]
        frame = pd.DataFrame(rows).drop(columns=["reason", "parent"])
        return frame.to_string(index=False, na_rep="-", float_format=lambda x: f"{x:.4g}")

    def result(
        self, given: argparse.Namespace, best: trials.Node | None, fought: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return reproduce.json."""
        from speedrun.stages.duel import NOT_SHOWN

        none = f"{NOT_SHOWN}: none of {len(self.nodes)} nodes reached the target loss"
        return {
            "track": self.venue.track.name,
            "code": str(given.code),
            "hints": str(given.hints or ""),
            "arm": {key: self.arm[key] for key in ("coder", "model", "scaffold", "mode")},
            "nodes": [self.row(number) for number in self.nodes],
            "winner": best.number if best else None,
            "duel": fought,
            "verdict": fought["verdict"] if fought else NOT_SHOWN,
            "sentence": _speedup(fought) if fought else none,
        }


def _speedup(fought: dict[str, Any]) -> str:
    time = fought["time"]
    if time is None:
        return f"speedup unknown: {fought['sentence']}"
    p = "untestable" if time["p"] is None else f"p = {time['p']:.2g}"
    said = f"speedup {1 / time['ratio']:.2f}x, {p} ({fought['verdict']})"
    return f"{said}: {fought['b']['label']} of this search against {fought['a']['label']}"


def verb(*words: str) -> None:
    """Run one verb of this command line, as the shell line of a sweep's job does."""
    from speedrun.cli import parser

    given = parser().parse_args(words)
    given.run(given)
