"""A corpus that needs no download: the Python source of pinned, pure-Python distributions.

They are installed anyway. Each is checked against its pinned version and
SHA-256, because a language model's loss is comparable only on equal data.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from speedrun import files
from speedrun.files import SpeedrunError

SPLIT_BUCKETS = 1000


@dataclass(frozen=True)
class Distribution:
    """One pinned source: ``sha256`` is over the names and digests of its ``.py`` files."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class CorpusSpec:
    """config/corpus/<corpus>.yaml. ``val_share`` and ``holdout_share`` are shares of documents."""

    name: str
    distributions: list[Distribution]
    val_share: float
    holdout_share: float


def corpus(spec: CorpusSpec, out: Path) -> dict[str, float]:
    """Write ``documents.jsonl`` and ``manifest.json`` into ``out``; return sizes.

    Errors: a missing, differing or edited distribution is named with the command that mends it.
    """
    documents: list[tuple[str, str]] = []
    sources = []
    for pinned in spec.distributions:
        found = read_distribution(pinned)
        documents += found.items()
        sources.append(_source(pinned, found))
    lines = [_line(name, text, spec) for name, text in documents]
    files.write_text(out / "documents.jsonl", "".join(lines))
    files.write_json(out / "manifest.json", {"corpus": spec.name, "sources": sources})
    return {
        "documents": float(len(documents)),
        "bytes": float(sum(len(text.encode()) for _, text in documents)),
    }


def hidden_paths(manifest: Path) -> list[str]:
    """Return the installed folders that hold the corpus, to be emptied inside the sandbox.

    A distribution that is not installed here, as on a bare training node, has nothing to hide.
    """
    sources = files.read_json(manifest)["sources"]
    return sorted({path for source in sources for path in _roots(source["name"])})


def read_distribution(pinned: Distribution) -> dict[str, str]:
    """Return ``{path: text}`` of the ``.py`` files of an installed distribution, checked.

    Errors: SpeedrunError when it is absent, of another version, or its text is not the pinned one.
    """
    installed = _installed(pinned.name)
    if installed.version != pinned.version:
        raise SpeedrunError(
            f"corpus: {pinned.name} {installed.version} is installed, {pinned.version} is pinned: "
            "run `make setup`"
        )
    found = {str(path): _checked_text(path) for path in sorted(_python_files(installed), key=str)}
    actual = digest_documents(found)
    if actual != pinned.sha256:
        raise SpeedrunError(
            f"corpus: the sources of {pinned.name} {pinned.version} have SHA-256 {actual}, "
            f"pinned is {pinned.sha256}: reinstall it with `make clean setup`"
        )
    return found


def digest_documents(documents: dict[str, str]) -> str:
    """Return the SHA-256 that pins a distribution: over names and per-file digests."""
    return files.digest_value({name: files.digest_text(text) for name, text in documents.items()})


def split_of(name: str, val_share: float, holdout_share: float) -> str:
    """Return the split of a document, by the hash of its name: stable and blind to its text."""
    bucket = int(files.digest_text(name)[:8], 16) % SPLIT_BUCKETS
    if bucket < val_share * SPLIT_BUCKETS:
        return "val"
    if bucket < (val_share + holdout_share) * SPLIT_BUCKETS:
        return "holdout"
    return "train"


def _installed(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise SpeedrunError(f"corpus: {name} is not installed: run `make setup`") from error


def _python_files(installed: metadata.Distribution) -> list[metadata.PackagePath]:
    listed = installed.files or []
    return [path for path in listed if path.suffix == ".py" and ".." not in path.parts]


def _checked_text(path: metadata.PackagePath) -> str:
    content = Path(str(path.locate())).read_bytes()
    recorded = path.hash
    if recorded is not None:
        digest = hashlib.new(recorded.mode, content).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != recorded.value:
            raise SpeedrunError(
                f"corpus: {path} was edited after its installation: run `make clean setup`"
            )
    return content.decode("utf-8", "replace")


def _roots(name: str) -> list[str]:
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return []
    tops = {path.parts[0] for path in _python_files(installed)}
    return [str(installed.locate_file(top)) for top in sorted(tops)]


def _source(pinned: Distribution, found: dict[str, str]) -> dict[str, object]:
    size = sum(len(text.encode()) for text in found.values())
    return {
        "name": pinned.name,
        "version": pinned.version,
        "sha256": pinned.sha256,
        "files": len(found),
        "bytes": size,
    }


def _line(name: str, text: str, spec: CorpusSpec) -> str:
    split = split_of(name, spec.val_share, spec.holdout_share)
    return json.dumps({"id": name, "split": split, "text": text}, ensure_ascii=False) + "\n"
