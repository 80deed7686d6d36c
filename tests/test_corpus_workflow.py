"""Downloaded and own corpora through the workflow: what is made again, and what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hub_server
from hub_shards import shard

pytestmark = [pytest.mark.dag, pytest.mark.slow]


def snakemake(folder: Path, repository: Path, target: str, *overrides: str) -> str:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(repository / "Snakefile"),
        "-c1",
        target,
    ]
    config = ["--config", "sweep=nano", f"overrides={json.dumps(overrides)}"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*command, target, *config],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_more_shards_leave_the_old_ones_as_they_are(tmp_path: Path, repository: Path) -> None:
    names = ["fineweb_val_000000.bin", "fineweb_train_000103.bin"]
    names += [f"fineweb_train_00000{index}.bin" for index in (1, 2)]
    files = {name: shard(seed) for seed, name in enumerate(names)}
    with hub_server.serve(hub_server.Hub(files, repository="kjj0/fineweb10B-gpt2")) as hub:
        given = ("corpus=fineweb10B", "track.probe_sets=0", f"corpus.endpoint={hub.endpoint}")
        target = "results/shards/fineweb10B/meta.json"
        snakemake(tmp_path, repository, target, *given, "corpus.train_shards=1")
        shards = tmp_path / "results/shards/fineweb10B/public"
        first = (shards / "fineweb_train_000001.bin").stat()
        hub.asked.clear()
        again = snakemake(tmp_path, repository, target, *given, "corpus.train_shards=1")
        assert "Nothing to be done" in again
        snakemake(tmp_path, repository, target, *given, "corpus.train_shards=2")
        assert {name for _, name, _ in hub.asked} == {"fineweb_train_000002.bin"}
    second = (shards / "fineweb_train_000001.bin").stat()
    assert first.st_ino == second.st_ino  # the very file of the store
    assert len(list(shards.iterdir())) == 3


def test_an_edited_file_makes_its_corpus_again(tmp_path: Path, repository: Path) -> None:
    source = tmp_path / "in/a.jsonl"
    source.parent.mkdir()
    lines = [json.dumps({"text": f"number {index} of many"}) for index in range(500)]
    source.write_text("\n".join(lines))
    given = ("corpus=text", "corpus.paths=[in]", "corpus.val_tokens=5", "track.probe_sets=0")
    wide = ("corpus.val_share=0.1", "corpus.holdout_share=0.1")
    target = "results/shards/text/meta.json"
    snakemake(tmp_path, repository, target, *given, *wide)
    assert "Nothing to be done" in snakemake(tmp_path, repository, target, *given, *wide)
    source.write_text("\n".join(lines[:-1]))
    snakemake(tmp_path, repository, target, *given, *wide)
    assert json.loads((tmp_path / target).read_text())["documents"] == 499
