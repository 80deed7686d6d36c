"""similarity: how far a winner's code came from the start's towards the human's.

distance recovered = 1 - d(agent, target) / d(start, target), as in arXiv 2506.22419, so that the
start itself scores exactly 0 and the target exactly 1; below 0 is farther away than the start.

A text embedder reads a few hundred tokens, a solution has thousands. Embedding the head of the
file misses an edit further down, and the mean over fixed windows dilutes it and moves every
window behind an inserted line. Here a solution is a multiset of chunks cut where the code itself
has boundaries (top-level statements, definitions, blank lines), so that an edit changes the
chunks that it touches and no other. Its vector is the sum over chunks of

    (lines of the chunk) x (unit embedding of the chunk),

and d is the L2 norm of the difference of two such vectors: chunks that two solutions share cancel
exactly, what remains is the embedded diff. (It is the linear-kernel maximum mean discrepancy,
not normalised by length.) The cosine distance of the same vectors is given beside it; it is
diluted by what is shared, its ratio is not. With ``chunk_lines: 0`` a solution is one chunk: the
paper's definition on the embedder's own vectors, for embedders with a long context.

``recovered_lines`` is the lexical baseline without any embedding: the same ratio with d = the
number of differing non-blank lines (multiset symmetric difference, indentation ignored).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speedrun import files, trials, versions

Floats = npt.NDArray[np.float64]
Embedder = Callable[[list[str]], npt.NDArray[Any]]  # n texts -> array (n, dimensions)
CLOSING = re.compile(r"[)\]}]|\"\"\"|'''")
SOURCE_SUFFIXES = frozenset({".py", ".cu", ".cpp", ".c", ".h", ".sh", ".triton"})


@dataclass(frozen=True)
class Code:
    """A solution as chunks and as lines, both as multisets."""

    chunks: Counter[str]
    lines: Counter[str]


def measure_task(
    plan: trials.Plan, task_name: str, embed: Embedder, chunk_lines: int, out: Path
) -> dict[str, Any]:
    """Measure the winner of every trial of a task and write ``out``.

    ``chunk_lines`` is the longest chunk the embedder can read, 0 for whole solutions.
    """
    task = plan.task(task_name)
    start, target = (read_code(path, chunk_lines) for path in (task.start_files, task.target_files))
    winners = [(t, trials.winner(trials.nodes(t))) for t in plan.trials_of(task_name)]
    agents = {t.label: read_code(node.solution, chunk_lines) for t, node in winners if node}
    vectors = embed_chunks([start, target, *agents.values()], embed, whole=chunk_lines == 0)
    result = {
        "task": task_name,
        "track": plan.track.name,
        "embedder": plan.embedder,
        "version": versions.SIMILARITY,
        "start_to_target": distances(start, target, vectors),
        "trials": [
            {"trial": trial.label, "arm": trial.arm, "seed": trial.seed, "node": None}
            | ({"node": node.number} if node else {})
            | compare(start, agents.get(trial.label), target, vectors)
            for trial, node in winners
        ],
    }
    files.write_json(out, result)
    return result


def read_code(folder: Path, chunk_lines: int) -> Code:
    """Read a solution's source files, in name order, as chunks and lines."""
    sources = _read_sources(folder)
    if chunk_lines == 0:
        chunks = ["\n".join(f"# {name}\n{text}" for name, text in sorted(sources.items()))]
    else:
        chunks = [chunk for text in sources.values() for chunk in split(text, chunk_lines)]
    lines = (line.strip() for text in sources.values() for line in text.splitlines())
    return Code(Counter(chunks), Counter(line for line in lines if line))


def _read_sources(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise files.SpeedrunError(f"{folder} is missing: run `snakemake` to make it")
    names = [path for path in files.tree_files(folder) if path.suffix in SOURCE_SUFFIXES]
    return {str(p): (folder / p).read_text(encoding="utf-8", errors="replace") for p in names}


def split(text: str, chunk_lines: int) -> list[str]:
    """Cut code into chunks of at most ``chunk_lines`` non-blank lines at its own boundaries.

    A chunk starts at a top-level line, a definition, a decorator, or after a blank line; one that
    is still too long is cut again from its own beginning.
    """
    blocks: list[list[str]] = [[]]
    after_blank = False
    for line in text.splitlines():
        if line.strip():
            if after_blank or _starts_block(line, blocks[-1]):
                blocks.append([])
            blocks[-1].append(line.rstrip())
        after_blank = not line.strip()
    pieces = (b[i : i + chunk_lines] for b in blocks for i in range(0, len(b), chunk_lines))
    return ["\n".join(piece) for piece in pieces]


def _starts_block(line: str, block: Sequence[str]) -> bool:
    """Say whether ``line`` opens a chunk; consecutive plain top-level lines stay together."""
    if CLOSING.match(line) or (block and block[-1].lstrip().startswith("@")):
        return False
    if re.match(r"\s*(@|(async )?def\b|class\b)", line):
        return True
    return bool(line[:1].strip() and block and block[-1][:1].isspace())


def embed_chunks(
    codes: Sequence[Code], embed: Embedder, *, whole: bool = False
) -> dict[str, Floats]:
    """Return the vector of every distinct chunk: its line count x its unit embedding.

    ``whole``: a chunk is a solution, and its vector is the embedder's own, unscaled.
    """
    texts = sorted({chunk for code in codes for chunk in code.chunks})
    if not texts:
        return {}
    raw = np.asarray(embed(texts), dtype=np.float64)
    if whole:
        return dict(zip(texts, raw, strict=True))
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    units = np.divide(raw, norms, out=np.zeros_like(raw), where=norms > 0)
    return {text: unit * (text.count("\n") + 1) for text, unit in zip(texts, units, strict=True)}


def _sum(chunks: dict[str, int], vectors: dict[str, Floats]) -> Floats:
    width = len(next(iter(vectors.values()), np.zeros(1)))
    total = np.zeros(width)
    for chunk in sorted(chunks):
        total += chunks[chunk] * vectors[chunk]
    return total


def distances(one: Code, other: Code, vectors: dict[str, Floats]) -> dict[str, float]:
    """Return the L2, cosine and line distance of two solutions; exactly 0 for equal ones."""
    surplus = {c: one.chunks[c] - other.chunks[c] for c in one.chunks | other.chunks}
    l2 = float(np.linalg.norm(_sum({c: n for c, n in surplus.items() if n}, vectors)))
    directions = [_unit(_sum(code.chunks, vectors)) for code in (one, other)]
    # half the squared chord is 1 - cos, and is exactly 0 for equal vectors
    cosine = 0.5 * float(np.sum((directions[0] - directions[1]) ** 2))
    lines = (one.lines - other.lines).total() + (other.lines - one.lines).total()
    return {"l2": l2, "cosine": cosine, "lines": float(lines)}


def _unit(vector: Floats) -> Floats:
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector


def compare(
    start: Code, agent: Code | None, target: Code, vectors: dict[str, Floats]
) -> dict[str, Any]:
    """Return the agent's distances to the target and the shares recovered; None without agent."""
    kinds = ("l2", "cosine", "lines")
    if agent is None:
        return {"to_target": None, **{f"recovered_{kind}": None for kind in kinds}}
    whole, left = distances(start, target, vectors), distances(agent, target, vectors)
    recovered = {f"recovered_{kind}": share_recovered(whole[kind], left[kind]) for kind in kinds}
    return {"to_target": left, **recovered}


def share_recovered(whole: float, left: float) -> float | None:
    """Return 1 - left / whole; None when start and target do not differ."""
    return 1.0 - left / whole if whole else None
