"""Builds a public task and a trial's earlier nodes on disk, for generate's and coders' tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, schema
from speedrun.schema import Analysis, Outcome, Parent, TaskFacts
from speedrun.search import Scaffold
from speedrun.stages.generate import NodeInputs

FLAT = Scaffold("flat", None)
TREE = Scaffold("tree", 1, 3)
FACTS = TaskFacts("micro", "r02-r03", "r02", "r03", "train.py", 3.5, "one core", "- Be honest.\n")
START = {
    "train.py": """\
\"\"\"Start record: tüned by hand.\"\"\"
import math
from dataclasses import dataclass

SEED = 1337
LEARNING_RATE = 0.001
STEPS: int = 600; WARMUP = 20
FLOOR = -0.25
DROPOUT = 0.0
FUSED = True


@dataclass
class Config:
    width: int = 64
    decay: float = 1e-2  # é


def main():
    local = 5
    return local * math.pi
"""
}
FASTER = {"train.py": START["train.py"].replace("600", "300")}
HINTS = {"hints/l1.md": "for $x in {weights}:\n  use  \\n Muon\n", "hints/l2.md": "# Muon\n"}


def analysis(
    outcome: Outcome, time_s: float | None, loss: float | None, digest: str, reason: str = ""
) -> Analysis:
    """An analysis with what generate reads of it."""
    return Analysis(outcome, reason, loss, time_s, None, None, [], None, time_s, digest)


@dataclass(frozen=True)
class Trial:
    """A task and a trial under one folder; ``add`` writes an earlier node."""

    base: Path
    scaffold: Scaffold = TREE

    @property
    def folder(self) -> Path:
        """The trial's folder."""
        return self.base / "trials" / "micro" / "r02-r03" / "arm-1a2b3c4d" / "s0"

    def start(self, time_s: float | None = 10.0) -> Trial:
        """Write the public task and the start record's reference run."""
        public = {f"start/{name}": text for name, text in START.items()} | HINTS
        files.write_tree(self.base / "public", public)
        schema.save(self.base / "public" / "task.json", FACTS)
        root = analysis(Outcome.OK if time_s else Outcome.MISSED_TARGET, time_s, 3.48, "")
        schema.save(self.base / "root.json", root)
        return self

    def add(
        self,
        node: int,
        parent: int,
        outcome: Outcome,
        time_s: float | None = None,
        loss: float | None = None,
        solution: dict[str, str] | None = None,
        **notes: Any,
    ) -> None:
        """Write node ``node`` as generate and analyze leave it."""
        folder = self.folder / f"node_{node}"
        refused = outcome if outcome is Outcome.REFUSED else None
        reason = "the model declined" if refused else ""
        files.write_tree(folder / "solution", {} if solution is None else solution)
        found = Parent(node, parent, 1, "draft", refused, reason, "", 0, 0, notes)
        schema.save(folder / "parent.json", found)
        schema.save(
            folder / "analysis.json", analysis(outcome, time_s, loss, f"digest {node}", reason)
        )

    def inputs(self, node: int, hints: tuple[str, ...] = (), **more: Any) -> NodeInputs:
        """What decides the question of ``node``."""
        return NodeInputs(
            public=self.base / "public",
            trial=self.folder,
            node=node,
            scaffold=self.scaffold,
            root_analysis=self.base / "root.json",
            seed=0,
            hints=hints,
            **more,
        )
