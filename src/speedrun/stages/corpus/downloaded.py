"""A corpus of tokenised shards from a dataset repository of the Hugging Face Hub.

The shards are kept in the store, outside of results/, because they are large and never change.
A shard gets its name only when its SHA-256 is the one that the hub promises (its LFS digest) and
the one that the configuration pins, if it does. What was cut off is continued by the next run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedrun import files
from speedrun.files import SpeedrunError

SHA256 = re.compile(r"[0-9a-f]{64}")
SPARE_BYTES = 64 * 2**20  # left free on the disk


@dataclass(frozen=True)
class HubSpec:
    """config/corpus/<corpus>.yaml of kind hub: ``shards`` maps our file names to the hub's."""

    kind: str
    name: str
    repository: str
    revision: str  # a commit, or a branch (then the manifest tells the commit it stood for)
    endpoint: str  # "" is the hub itself, or what HF_ENDPOINT says
    store: str  # folder that keeps the downloads of all repositories
    offline: bool  # take the files that are in the store as they are
    shards: dict[str, str]
    sha256: dict[str, str] = field(default_factory=dict)  # hub's file name -> digest it must have


@dataclass(frozen=True)
class _Promise:
    """What the hub says of a file before it is downloaded."""

    name: str
    commit: str
    sha256: str
    bytes: int
    url: str


def hub(spec: HubSpec, out: Path) -> dict[str, float]:
    """Download what the store lacks, check it, and write manifest.json into ``out``.

    Errors: SpeedrunError in one line for an unreachable hub, a missing file or revision, wrong
    bytes, a full disk. Finished shards stay, so that running again goes on where it stopped.
    """
    folder = Path(spec.store) / spec.repository.replace("/", "--")
    wanted = sorted(set(spec.shards.values()))
    missing = _missing(spec, folder, wanted)
    if missing:
        with _alone(folder):
            missing = _missing(spec, folder, wanted)  # another job may have got them meanwhile
            _get(spec, folder, missing)
    known = {name: _known(spec, folder, name) or {} for name in wanted}
    shards = [
        {"name": local, "file": remote, "path": str(folder / remote), **known[remote]}
        for local, remote in sorted(spec.shards.items())
    ]
    manifest = {"corpus": spec.name, "kind": "hub", "repository": spec.repository}
    files.write_json(out / "manifest.json", {**manifest, "sources": [], "shards": shards})
    return {
        "shards": float(len(shards)),
        "bytes": float(sum(known[name]["bytes"] for name in wanted)),
        "downloaded": 0.0 if spec.offline else float(len(missing)),
    }


def _missing(spec: HubSpec, folder: Path, wanted: list[str]) -> list[str]:
    return [name for name in wanted if _known(spec, folder, name) is None]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other job writes to ``folder``: two would mix their bytes in one part."""
    from filelock import FileLock

    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise SpeedrunError(
            f"corpus: cannot write to {folder} ({error.strerror}): set corpus.store "
            "to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _get(spec: HubSpec, folder: Path, names: list[str]) -> None:
    if names and spec.offline:
        _adopt(spec, folder, names)
    elif names:
        _download_all(spec, folder, names)


def _known(spec: HubSpec, folder: Path, name: str) -> dict[str, Any] | None:
    """Return what is known of a shard in the store, None unless it is whole and the one asked for.

    The digest was checked when the shard came; ``tokenize`` reads it again.
    """
    note = folder / f"{name}.json"
    if not note.is_file() or not (folder / name).is_file():
        return None
    known: dict[str, Any] = files.read_json(note)
    same = spec.revision in (known["revision"], known["commit"])
    whole = (folder / name).stat().st_size == known["bytes"]
    pinned = spec.sha256.get(name, known["sha256"]) == known["sha256"]
    return known if same and whole and pinned else None


def _adopt(spec: HubSpec, folder: Path, names: list[str]) -> None:
    """Take files that were copied into the store by hand; a pinned digest must agree."""
    for name in names:
        path = folder / name
        if not path.is_file():
            raise SpeedrunError(
                f"corpus: {path} is missing and corpus.offline is set: copy it there, or set "
                "corpus.offline=false"
            )
        actual = files.digest_file(path)
        if spec.sha256.get(name, actual) != actual:
            raise SpeedrunError(
                f"corpus: {path} has SHA-256 {actual}, pinned is {spec.sha256[name]}: copy it again"
            )
        _note(folder, _Promise(name, spec.revision, actual, path.stat().st_size, ""), spec)


def _download_all(spec: HubSpec, folder: Path, names: list[str]) -> None:
    with _plain_errors(spec, names[0]):
        promises = [_ask(spec, name) for name in names]
    files.require_space(folder, _missing_bytes(folder, promises) + SPARE_BYTES, "corpus")
    for promise in promises:
        with _plain_errors(spec, promise.name):
            _download(folder, promise)
        _keep(spec, folder, promise)


def _missing_bytes(folder: Path, promises: list[_Promise]) -> int:
    parts = [_part(folder, promise.name) for promise in promises]
    have = sum(part.stat().st_size for part in parts if part.exists())
    return sum(promise.bytes for promise in promises) - have


def _ask(spec: HubSpec, name: str) -> _Promise:
    """Ask the hub for a file's commit, size, digest and address."""
    hub_library, endpoint = _library(), spec.endpoint.rstrip("/") or None
    url = hub_library.hf_hub_url(
        spec.repository, name, repo_type="dataset", revision=spec.revision, endpoint=endpoint
    )
    said = hub_library.get_hf_file_metadata(
        url, token=False, endpoint=endpoint, retry_on_errors=True
    )
    digest = said.etag if SHA256.fullmatch(said.etag or "") else spec.sha256.get(name)
    if not digest or not said.size or not said.commit_hash:
        raise SpeedrunError(
            f"corpus: {url} names no commit, size and SHA-256: is corpus.endpoint a hub?"
        )
    if spec.sha256.get(name, digest) != digest:
        raise SpeedrunError(
            f"corpus: {name} of {spec.repository} at {spec.revision} has SHA-256 {digest}, "
            f"pinned is {spec.sha256[name]}: correct corpus.sha256 or corpus.revision"
        )
    # Not said.location: that address is signed and expires while earlier files are downloaded.
    return _Promise(name, said.commit_hash, digest, said.size, url)


def _download(folder: Path, promise: _Promise) -> None:
    """Fetch a file into its part, going on from where an earlier run was cut off."""
    part = _part(folder, promise.name)
    part.parent.mkdir(parents=True, exist_ok=True)
    with files.disk_errors(part), part.open("ab") as file:
        if file.tell() > promise.bytes:
            file.truncate(0)
            file.seek(0)
        _library().file_download.http_get(
            promise.url,
            file,
            resume_size=file.tell(),
            expected_size=promise.bytes,
            displayed_filename=promise.name,
        )
        file.flush()
        os.fsync(file.fileno())


def _keep(spec: HubSpec, folder: Path, promise: _Promise) -> None:
    """Give a finished part its name, or drop it when its bytes are wrong."""
    part = _part(folder, promise.name)
    actual = files.digest_file(part)
    if actual != promise.sha256:
        part.unlink()
        raise SpeedrunError(
            f"corpus: {promise.name} came with SHA-256 {actual}, {promise.sha256} was promised: "
            "the damaged copy was deleted; run the same command again"
        )
    part.chmod(0o444)  # results/ shows the same file: nothing may write to it there
    part.replace(folder / promise.name)
    _note(folder, promise, spec)


def _note(folder: Path, promise: _Promise, spec: HubSpec) -> None:
    facts = {"sha256": promise.sha256, "bytes": promise.bytes, "commit": promise.commit}
    files.write_json(folder / f"{promise.name}.json", {**facts, "revision": spec.revision})


def _part(folder: Path, name: str) -> Path:
    # A dot and no .bin: nobody takes it for a shard.
    return folder / f".{name}.part"


@contextmanager
def _plain_errors(spec: HubSpec, name: str) -> Iterator[None]:
    """Turn what the hub's library raises into one line with the next command."""
    import httpx2
    from huggingface_hub import errors

    where = spec.endpoint or _library().constants.ENDPOINT
    again = "; then run the same command again: finished shards are kept"
    try:
        yield
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        advice = {404: "check corpus.repository and corpus.revision"}.get(code, "try later")
        raise SpeedrunError(
            f"corpus: {where} answered {code} for {name} of {spec.repository} at "
            f"{spec.revision}: {advice}{again}"
        ) from error
    except (httpx2.HTTPError, ConnectionError) as error:
        raise SpeedrunError(
            f"corpus: cannot get {name} from {where} ({_first_line(error)}): go online or set "
            f"corpus.endpoint to a mirror{again}"
        ) from error
    except OSError as error:
        raise SpeedrunError(
            f"corpus: {name} did not come whole: {_first_line(error)}{again}"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _library() -> Any:
    """Return huggingface_hub, imported late: it costs half a second and most corpora need none."""
    import huggingface_hub
    import huggingface_hub.file_download

    return huggingface_hub
