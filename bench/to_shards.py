"""`python bench/to_shards.py [MB]`: text to the finished shard, upstream's way and ours.

Upstream's way is a process pool of tiktoken's encode_ordinary whose tokens one process gathers and
writes. Both read the same parquet file, FineWeb's own format, and both have one core, because two
that compete for a cache give no steady CPU seconds. These count every process from start to end,
imports included; peak memory is that of the largest process.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speedrun import files
from speedrun.stages.tokenize import gpt2, shards

SIZES_MB = (100, 400)
ROW_GROUP = 1000  # documents, as in FineWeb's files
SPEC = {
    "kind": "text",
    "column": "text",
    "separator": "",
    "invalid_utf8": "error",
    "val_share": 0.01,
    "holdout_share": 0.01,
    "val_tokens": 1000,
    "shard_tokens": 100_000_000,
    "seed": 1,
    "probe_sets": 0,
    "probe_contexts": 0,
    "probe_length": 0,
}


@dataclass(frozen=True)
class Cost:
    """One whole process tree: CPU seconds and the largest process's peak."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def main() -> None:
    """Print both sides at two sizes."""
    from speedrun.cli.measure import machine  # not part of what either side starts with

    sizes = [float(given) for given in sys.argv[1:]] or SIZES_MB
    print(f"machine: {machine()}; on one core")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for megabytes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            side_by_side(Path(folder), int(megabytes * 1e6))


def side_by_side(folder: Path, size: int) -> None:
    """Write the text, run both ways, print megabytes a CPU second and the ratio."""
    text = folder / "text.parquet"
    # By a process of its own: a child's peak memory counts what its parent held when it started.
    write = [sys.executable, __file__, "--text", str(text), str(size)]
    seen = int(subprocess.run(write, check=True, capture_output=True).stdout) / 1e6
    theirs = run([sys.executable, __file__, "--pool", str(text), str(folder / "theirs")])
    ours = run([sys.executable, __file__, "--ours", str(text), str(folder / "ours")])
    for name, cost in (("tiktoken in a pool", theirs), ("ours", ours)):
        print(
            f"tokenize {seen:.0f} MB, {name}: {seen / cost.cpu_s:.1f} MB a CPU second, "
            f"{seen / cost.wall_s:.1f} MB/s of wall time, peak {cost.peak_mb:.0f} MB"
        )
    print(f"tokenize {seen:.0f} MB: {theirs.cpu_s / ours.cpu_s:.1f} times fewer CPU seconds")


def write_text(path: Path, size: int) -> int:
    """Write installed text as parquet; return the bytes of the documents."""
    seen, schema = 0, pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema) as file:
        for rows in batches(size):
            seen += sum(len(text.encode()) for text in rows)
            file.write_table(pa.table({"text": rows}, schema))
    return seen


def batches(size: int) -> Iterator[list[str]]:
    """Return the text as row groups."""
    import bench_text

    texts = bench_text.installed(size)
    return iter(lambda: list(itertools.islice(texts, ROW_GROUP)), [])


def run(command: list[str]) -> Cost:
    """Run a command to its end and return what it and its children cost."""
    begin = os.times()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench: {command[2]} failed")
    wall_s = os.times().elapsed - begin.elapsed
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024)


def run_ours(text: Path, out: Path) -> None:
    """The stage itself, spot checks and digests included."""
    from speedrun.stages import tokenize

    entry = {"path": str(text), "bytes": text.stat().st_size, "sha256": ""}
    files.write_json(out / "manifest.json", {"files": [entry]})
    tokenize.build(out / "manifest.json", SPEC, out / "shards")


def run_pool(text: Path, out: Path) -> None:
    """A pool of tiktoken, as many processes as upstream's script would start."""
    import multiprocessing

    workers = max(1, (os.cpu_count() or 1) - 2)
    room = np.empty(SPEC["shard_tokens"], dtype=np.uint16)
    count, shard = 0, 0
    gpt2.oracle()  # once, before the workers are forked, as upstream's script does
    with multiprocessing.Pool(workers) as pool, pq.ParquetFile(text) as file:
        rows = file.iter_batches(batch_size=ROW_GROUP, columns=["text"])
        documents = (text for batch in rows for text in batch.column(0).to_pylist())
        for tokens in pool.imap(pool_tokens, documents, chunksize=16):
            if count + len(tokens) > len(room):
                write_pool_shard(out / f"{shard}.bin", room[:count])
                count, shard = 0, shard + 1
            room[count : count + len(tokens)] = tokens
            count += len(tokens)
    write_pool_shard(out / f"{shard}.bin", room[:count])


def write_pool_shard(path: Path, tokens: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(shards.header(len(tokens)))
        file.write(tokens.tobytes())


def pool_tokens(text: str) -> np.ndarray:
    """One document's tokens, in a worker."""
    tokens = np.array(gpt2.reference_tokens(text))
    assert (tokens >= 0).all() and (tokens < 2**16).all()
    return tokens.astype(np.uint16)


if __name__ == "__main__":
    ways = {"--ours": run_ours, "--pool": run_pool}
    if sys.argv[1:2] == ["--text"]:
        print(write_text(Path(sys.argv[2]), int(sys.argv[3])))
    elif sys.argv[1:] and sys.argv[1] in ways:
        ways[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
