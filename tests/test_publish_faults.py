"""publish: a death on the way, an unreachable server, a file that is no store, a full disk."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import small_disks
from publish_store import Published, dump, publish, runs_of
from publish_sweep import RUNS, write_run
from speedrun import files
from speedrun.files import SpeedrunError

pytest_plugins = ("publish_fixtures",)


class Killed(BaseException):
    """Stands for the death of the process: nothing of ours catches it."""


@pytest.mark.parametrize("method", ["delete_run", "set_terminated"])
def test_a_publish_that_dies_is_cleaned_by_the_next(
    plan: Path, uri: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Dying between create and delete, or before a run is complete, leaves nothing for good."""
    write_run(plan.parent.parent / "references/nano/cpu/r02/run_0", 7.25)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{method}", die)
        with pytest.raises(Killed):
            publish(plan, uri)
    report = publish(plan, uri)
    assert report.removed >= 1
    key = "results/references/nano/cpu/r02/run_0"
    assert dump(uri)[key][4]["time_s"][-1][2] == "7.25"
    assert publish(plan, uri).kept == RUNS


def test_an_unreachable_server_is_named_quickly(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment wins over the argument, and the error says what to do."""
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        begin = time.monotonic()
        with pytest.raises(SpeedrunError) as error:
            publish(plan, "sqlite:///never.db")
    assert time.monotonic() - begin < 10
    for part in (server, "mlflow server", "unset MLFLOW_TRACKING_URI"):
        assert part in str(error.value)
    assert not Path("never.db").exists()


def test_a_file_that_is_no_database_is_refused_and_kept(plan: Path) -> None:
    """MLflow would retry for an hour and then say something else."""
    path = plan.parent / "broken.db"
    path.write_text("not a database, but somebody's file\n" * 9)
    before = files.digest_file(path)
    with pytest.raises(SpeedrunError, match="not a usable SQLite store"):
        publish(plan, f"sqlite:///{path}")
    assert files.digest_file(path) == before


def test_a_store_that_mlflow_refuses_is_explained(plan: Path, tmp_path: Path) -> None:
    """The old file store is refused by MLflow 3; we pass on why."""
    with pytest.raises(SpeedrunError, match="results are untouched"):
        publish(plan, (tmp_path / "mlruns").as_uri())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 256 KiB; needs the right to mount."""
    with small_disks.mounted(tmp_path / "disk", "256k") as folder:
        yield folder


def test_a_full_disk_loses_nothing(
    plan: Path, small_disk: Path, template: Path, original: Published
) -> None:
    """Full while the store is made, full while runs are written; with room it completes."""
    results, database = plan.parent.parent, small_disk / "mlflow.db"
    uri, before = f"sqlite:///{database}", files.digest_tree(results)
    with pytest.raises(SpeedrunError, match="disk full"):
        publish(plan, uri)
    assert not database.exists()  # and no half-made one either
    room_kb = template.stat().st_size // 1024 + 300
    small_disks.resize(small_disk, f"size={room_kb}k,remount")
    shutil.copy(template, database)
    with pytest.raises(SpeedrunError, match="disk full"):
        publish(plan, uri)
    assert 0 < len(runs_of(uri)) < RUNS
    assert files.digest_tree(results) == before
    small_disks.resize(small_disk, "size=64m,remount")
    publish(plan, uri)
    assert dump(uri) == original.content
