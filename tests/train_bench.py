"""A task's inputs on disk, and the train stage run on them."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

from speedrun.runner import shards
from speedrun.schema import RunExit, TrainSpec
from speedrun.stages import train as stage

SPEC = TrainSpec(
    timeout_s=20, memory_mb=300, output_mb=1, file_mb=80, processes=9, threads=1,
    sandbox="bubblewrap",
)  # fmt: skip
LINE = "step:1/1 val_loss:3.0 train_time:1ms step_avg:1ms"


class Bench:
    """A task's inputs on disk; ``train`` runs ``code`` on them."""

    def __init__(self, folder: Path) -> None:
        """Write shards, contexts and an empty solution below ``folder``."""
        self.folder, self.solution = folder, folder / "solution"
        self.data, self.out = folder / "public", folder / "run"
        self.probes = folder / "contexts.npy"
        self.data.mkdir()
        self.solution.mkdir()
        self.probes.write_bytes(b"contexts")
        for split in ("train", "val"):
            self.shard(split, [1, 2, 3])

    def shard(self, split: str, tokens: list[int], magic: int = shards.MAGIC) -> Path:
        """Write a shard."""
        path = self.data / f"{split}_000000.bin"
        header = struct.pack("<256i", magic, 1, len(tokens), *[0] * 253)
        path.write_bytes(header + struct.pack(f"<{len(tokens)}H", *tokens))
        return path

    def train(self, code: str | None, seed: int = 1, **changes: Any) -> RunExit:
        """Write ``code`` and run the stage with a changed spec."""
        if code is not None:
            (self.solution / "train.py").write_text(code)
        options = {name: changes.pop(name) for name in ("not_run", "cpu") if name in changes}
        probes = self.probes if changes.pop("with_probes", True) else None
        spec = dataclasses.replace(SPEC, **changes)
        return stage.train(
            self.solution, "train.py", self.data, probes, self.out, spec, seed, **options
        )

    def lines(self) -> list[str]:
        """Return what the run printed."""
        text = (self.out / "log.jsonl").read_text()
        return [json.loads(line)["line"] for line in text.splitlines()]

    def contents(self) -> dict[str, bytes]:
        """Return the files of the run folder."""
        return {path.name: path.read_bytes() for path in self.out.iterdir()}
