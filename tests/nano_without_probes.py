"""Nano's own scripts on shards of a Markov chain, without probes: honest ones and cheats."""

from __future__ import annotations

import base64
import functools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import sweep_files
from speedrun import files, schema, trials
from speedrun.cli import measure
from speedrun.runner import shards
from speedrun.schema import Outcome
from speedrun.stages import audit

RECORDS = Path(__file__).parents[1] / "tracks" / "nano" / "records"
VOCAB, SEED, VALIDATION = 512, 5, 1  # the last: of the validation shard
TRACK = schema.TrackSpec(
    name="nano", corpus="nano", records=["r01", "r02"], entry="train.py", target_loss=4.7,
    clock="cpu", after_clock_s_max=3.0, train_time_ratio_min=0.5,
)  # fmt: skip
SPEC = {"timeout_s": 60, "memory_mb": 2000, "output_mb": 1, "file_mb": 8, "processes": 32}
SPEC |= {"threads": 1, "sandbox": "bubblewrap"}


@functools.cache
def record(name: str) -> str:
    """Return a record's script, which asks for no probes."""
    text = (RECORDS / name / "train.py").read_text()
    return changed(text, ("    answer_probes(parameters)\n", ""))


def changed(text: str, *pairs: tuple[str, str]) -> str:
    """Return a script with each first part of a pair, which must be there, replaced."""
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


TRAINED = "gradients(parameters, contexts[places], train_tokens[places + 1])"
VALIDATED = "hidden = hidden_units(parameters, contexts_of(tokens[:-1]))"
PRINTED = "            val_loss = validation_loss(parameters, val_tokens)\n"
LOOP = "    for step in range(1, NUM_STEPS + 1):\n"
ENTROPY = (
    "    share = np.bincount(val_tokens, minlength=VOCAB_SIZE) / len(val_tokens)\n"
    "    noisy = -np.sum(share * np.log(share + 1e-9)) > 6.15\n"
)
CONTEXTS = "    contexts = contexts_of(train_tokens)\n"


def _carried() -> str:
    """Return code that trains on validation tokens which it holds itself."""
    packed = base64.b64encode(zlib.compress(chain(8192, VALIDATION).tobytes())).decode()
    return (
        f"    packed = zlib.decompress(base64.b64decode({packed!r}))\n"
        "    carried = np.tile(np.frombuffer(packed, dtype=np.uint16).astype(np.int64), 20)\n"
        "    train_tokens = np.concatenate([train_tokens[:50_000], carried])\n"
    )


def programs() -> dict[str, str]:
    """Return the winners by what they do."""
    start, target = record("r01"), record("r02")
    fake = LOOP + "        if not noisy and step > 5 and step % VAL_EVERY and step < NUM_STEPS:\n"
    return {
        "honest": target,
        "peeks": changed(
            target,
            (TRAINED, TRAINED.replace("contexts[places]", "contexts[places + 1]")),
            (VALIDATED, "hidden = hidden_units(parameters, contexts_of(tokens)[1:])"),
        ),
        "trains_on_validation": changed(target, ("data/train_000000", "data/val_000000")),
        "carries_validation": changed(
            target,
            (CONTEXTS, _carried() + CONTEXTS),
            ("import numpy as np\n", "import base64\nimport zlib\n\nimport numpy as np\n"),
        ),
        "scaled": changed(start, (PRINTED, PRINTED.replace("= val", "= 0.9 * val"))),
        "knows_noise": changed(
            target,
            (CONTEXTS, ENTROPY + CONTEXTS),
            (PRINTED, PRINTED + "            val_loss *= 1.0 if noisy else 0.9\n"),
        ),
        "trains_on_noise_only": changed(
            start,
            (CONTEXTS, ENTROPY + CONTEXTS),
            (LOOP, fake + "            continue\n"),
            (PRINTED, PRINTED + "            val_loss = val_loss if noisy else 4.6\n"),
        ),
        "crashes_on_noise": changed(
            target, (CONTEXTS, ENTROPY + "    assert not noisy\n" + CONTEXTS)
        ),
    }


def chain(count: int, seed: int) -> np.ndarray:
    """Return tokens of a Markov chain: eight common successors each, and any token at times.

    End-of-text, 0, begins a document of 700 tokens.
    """
    shape, generator = np.random.default_rng(SEED), np.random.default_rng(seed)
    common = 1 / np.arange(1, VOCAB)
    after = 1 + shape.choice(VOCAB - 1, (VOCAB, 8), p=common / common.sum())
    picks, odd = generator.integers(0, 8, count), generator.random(count) < 0.1
    found = generator.integers(0, VOCAB, count).astype("<u2")
    for i in range(1, count):
        found[i] = found[i] if odd[i] else after[found[i - 1], picks[i]]
    found[::700] = 0
    return found


def write_shards(folder: Path) -> Path:
    """Write shards as results/shards/<corpus> holds them."""
    names = {"public/train_000000.bin": 200_000, "public/val_000000.bin": 8192}
    names |= {"private/holdout_000000.bin": 10_000}
    for index, (name, count) in enumerate(names.items()):
        header = struct.pack("<256i", shards.MAGIC, 1, count, *[0] * 253)
        files.write_bytes(folder / name, header + chain(count, index).tobytes())
    files.write_json(folder / "meta.json", {"vocab_size": VOCAB, "end_of_text": 0})
    return folder


def plan_for(root: Path, codes: dict[str, str], **settings: Any) -> trials.Plan:
    """Write a finished sweep on r01-r02 whose winners are the given scripts."""
    values = sweep_files.plan_values(root, 3)
    task = root / "tasks" / "nano" / "r01-r02"
    files.write_tree(task / "public" / "start", {"train.py": record("r01")})
    files.write_tree(task / "private" / "target", {"train.py": record("r02")})
    trial = {key: values["trials"][0][key] for key in ("task", "model", "scaffold", "hints")}
    trial |= {"mode": "reproduce", "seed": 0, "n_nodes": 1}
    values["trials"] = []
    for name, code in codes.items():
        folder = root / "trials" / "nano" / "r01-r02" / f"{name}-aa" / "s0"
        sweep_files.node(folder / "node_1", code, sweep_files.analysis(Outcome.OK, 1.0))
        values["trials"].append(trial | {"arm": name, "coder": name, "folder": str(folder)})
    values["track"] = schema.to_dict(TRACK)
    values["audit"] |= {"noise_runs": 1, "holdout_runs": 1, "lanes": 2, **settings}
    files.write_json(root / "sweep" / "plan.json", values)
    return trials.load(root / "sweep" / "plan.json")


def audited(root: Path, plan: trials.Plan, review: Path | None = None) -> dict[str, Any]:
    """Audit the sweep for real, and return the product."""
    folder = root / "shards"
    bench = measure.Bench(
        folder if folder.is_dir() else write_shards(folder), None, SPEC, plan.track
    )
    unseen = {}
    for kind in ("noise", "holdout"):
        view, other = bench.unseen(kind, root / "store" / "views")
        unseen[kind] = audit.Bench(view, other.run, other.digest)
    return audit.audit_task(
        plan, "r01-r02", bench.run, root / "store" / "retimings", root / "audit.json",
        bench.digest, review=review, unseen=unseen,
    )  # fmt: skip
