"""What an arm may ask for besides its coder, model, scaffold and hints; all of it off by default.

What is off is left out of the resolved arm, so that arms which do not know of an option keep
their digest when it is added.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedrun.adapters import checked, hydra_config
from speedrun.files import SpeedrunError

ANSWERS = ("hints", "tracks", "replies", "results", "store")
DOCUMENTS = (".md", ".txt")  # what knowledge and retrieval read
TOP_K = 4  # passages a prompt, of some 300 words each
PREFLIGHT_TIMEOUT_S = 300  # importing PyTorch and compiling the first steps take minutes on a GPU


def resolve(repository: Path, name: str, arm: dict[str, Any], asks_model: bool) -> dict[str, Any]:
    """Return the options that an arm asks for, each as a stage reads it.

    Errors: SpeedrunError in one line for a wrong value, a missing document, or an option that
    needs a model in an arm without one.
    """
    asked = {key: arm[key] for key in OPTIONS if arm.get(key) not in checked.OFF}
    for key in ("preflight", "summary"):
        if key in asked and not asks_model:
            raise SpeedrunError(
                f"config: arm {name!r} asks for {key}, which needs a coder that asks a model: "
                "leave it out"
            )
    return {key: OPTIONS[key](repository, f"arms.{name}.{key}", asked[key]) for key in asked}


def _knowledge(repository: Path, key: str, value: Any) -> list[str]:
    """Return the documents, in the order given, relative to the repository."""
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths) or not paths:
        raise SpeedrunError(f"config: {key} must be a list of documents, got {value!r}")
    for path in paths:
        _inside(repository, key, path)
        file = repository / path
        if file.suffix not in DOCUMENTS or not file.is_file():
            raise SpeedrunError(_no_document(repository, key, path))
        if not file.read_text(encoding="utf-8").strip():
            raise SpeedrunError(f"config: {key}: {path} is empty: write it")
    return list(paths)


def _no_document(repository: Path, key: str, path: str) -> str:
    there = [str(file.relative_to(repository)) for file in documents(repository / "knowledge")]
    kinds = " or ".join(DOCUMENTS)
    return f"config: {key}: no document {path!r} ({kinds}){hydra_config.nearest(path, there)}"


def _retrieval(repository: Path, key: str, value: Any) -> dict[str, Any]:
    """Return the folder of documents and how many of their passages a prompt shows."""
    asked = {"folder": value} if isinstance(value, str) else checked.mapping(value, key)
    checked.keys(asked, ("folder", "top_k"), key)
    folder, top_k = asked.get("folder"), asked.get("top_k", TOP_K)
    if not isinstance(folder, str):
        raise SpeedrunError(f"config: {key}.folder must name a folder, got {folder!r}")
    _inside(repository, key, folder)
    if not documents(repository / folder):
        near = hydra_config.nearest(folder, _folders(repository))
        raise SpeedrunError(f"config: {key}: no folder of documents {folder!r}{near}")
    return {"folder": folder, "top_k": checked.count(top_k, f"{key}.top_k")}


def documents(folder: Path) -> list[Path]:
    """Return the documents below a folder, in name order; none where it is missing."""
    return sorted(path for path in folder.rglob("*") if path.suffix in DOCUMENTS and path.is_file())


def _folders(repository: Path) -> list[str]:
    found = {file.parent.relative_to(repository) for file in documents(repository / "knowledge")}
    return [str(folder) for folder in found]


def _inside(repository: Path, key: str, path: str) -> None:
    """An arm's digest holds the path: it must mean the same on every machine.

    Hints, targets and what was made of them are no documents: an arm would be told the answer and
    its folder say that it was not.
    """
    if Path(path).is_absolute() or not (repository / path).resolve().is_relative_to(
        repository.resolve()
    ):
        raise SpeedrunError(
            f"config: {key}: {path} must lie in the repository: give its path there"
        )
    first = (repository / path).resolve().relative_to(repository.resolve()).parts[:1]
    if not first or first[0] in ANSWERS:
        raise SpeedrunError(
            f"config: {key}: {path or '.'} holds hints or answers: put documents into knowledge/"
        )


def _memory(repository: Path, key: str, value: Any) -> str:
    return checked.one_of(value, ("scratchpad",), "memory", key)


def _summary(repository: Path, key: str, value: Any) -> str:
    return checked.one_of(value, ("model",), "summary", key)


def _preflight(repository: Path, key: str, value: Any) -> dict[str, Any]:
    asked = {} if value is True else checked.mapping(value, key)
    checked.keys(asked, ("timeout_s",), key)
    limit_s = asked.get("timeout_s", PREFLIGHT_TIMEOUT_S)
    return {"timeout_s": checked.count(limit_s, f"{key}.timeout_s")}


OPTIONS: dict[str, Callable[[Path, str, Any], Any]] = {
    "knowledge": _knowledge,
    "retrieval": _retrieval,
    "memory": _memory,
    "summary": _summary,
    "preflight": _preflight,
}
