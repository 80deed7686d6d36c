"""Reaching an MLflow store: quickly refused when it cannot work, one writer, readable errors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ANSWER_TIMEOUT_S = 5
SQLITE = "sqlite:///"
# Read by MLflow when it is imported or when it connects; a value that is set already wins.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # of 7, with back-off: minutes until an error
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # No connection outlives a transaction, so a store that was deleted is never written again.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
FULL_DISK = ("No space left on device", "database or disk is full", "Disk quota exceeded")


@contextlib.contextmanager
def connect(uri: str, folder: Path) -> Iterator[tuple[MlflowClient, str | None]]:
    """Yield a client and the artifact root (None: the server decides), as the only publisher.

    A SQLite store is made on first use, with its artifacts in ``mlartifacts`` beside it; its lock
    lies beside it too. For any other store the lock lies in ``folder``, the sweep's own.
    """
    if uri.startswith(("http://", "https://")):
        require_answer(uri)
    database = sqlite_path(uri)
    lock = database.with_name(f"{database.name}.lock") if database else folder / ".publish.lock"
    with _explained(uri), _locked(lock):
        if database is None:
            yield _client(uri), None
        else:
            artifacts = database.parent / "mlartifacts"
            _prepare_sqlite(database, artifacts)
            yield _client(f"{SQLITE}{database}"), artifacts.as_uri()


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute file of a ``sqlite:///`` URI, None for any other store."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None


def require_answer(uri: str) -> None:
    """Fail within seconds when no server answers; any HTTP status counts as an answer."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_TIMEOUT_S):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        raise SpeedrunError(
            f"no MLflow server answers at {uri} ({error}): start it with `mlflow server` (it needs "
            "up to 30 s), or unset MLFLOW_TRACKING_URI to publish to the local store"
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock: a fresh store fails when two processes create it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another publish ({path})", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare_sqlite(database: Path, artifacts: Path) -> None:
    """Create the store aside and rename it: a half-migrated one could never be opened again."""
    if database.is_file() and database.stat().st_size:
        _require_sqlite(database)
        return
    with files.atomic_path(database) as temporary:
        _configure()
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        make: Any = SqlAlchemyStore  # MLflow leaves its constructor without annotations
        store = make(f"{SQLITE}{temporary}", artifacts.as_uri())
        store.engine.dispose()


def _require_sqlite(database: Path) -> None:
    """Refuse a file that is no database at once: MLflow would retry for an hour."""
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("SELECT name FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise SpeedrunError(
            f"{database} is not a usable SQLite store ({error}): move it away and publish again, "
            "which restores everything from the files"
        ) from error


def _client(uri: str) -> MlflowClient:
    _configure()
    from mlflow import MlflowClient

    return MlflowClient(uri)


def _configure() -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow.store.db.utils

    mlflow.store.db.utils.MAX_RETRY_COUNT = 3  # of 15, the last of which waits 27 minutes
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn the store's errors into ours; results/ is only read, so nothing can be lost."""
    try:
        yield
    except SpeedrunError:
        raise
    except Exception as error:
        if not _is_of_store(error):
            raise
        raise SpeedrunError(_explanation(uri, error)) from error


def _is_of_store(error: Exception) -> bool:
    """Say whether an error comes from the disk, the network, SQL or MLflow, not from a bug."""
    package = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or package in ("mlflow", "sqlalchemy", "sqlite3", "requests")


def _explanation(uri: str, error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    if is_full_disk(error):
        return (
            f"disk full while publishing to {uri} ({text}): free space and publish again; the "
            "results are untouched and the next publish completes the store"
        )
    return (
        f"MLflow store {uri} failed ({type(error).__name__}: {text}): the results are untouched; "
        "remove the cause and publish again"
    )


def is_full_disk(error: BaseException | None) -> bool:
    """Say whether an error, or one that caused it, is a full disk or quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(mark in str(error) for mark in FULL_DISK):
            return True
        error = error.__cause__ or error.__context__
    return False
