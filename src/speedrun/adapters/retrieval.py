"""retrieval: passages of a folder's documents that match a node's question, by BM25 (bm25s).

An arm that has the setting ``retrieval: {folder, top_k}`` is shown them; no other arm is. Documents
are the Markdown and text files of the named folder and of nothing outside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speedrun.files import SpeedrunError
from speedrun.stages.generate import NodeInputs, retrieval_query

SUFFIXES = (".md", ".txt")
WORDS_MAX = 250  # of a passage
HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*")
FENCE = re.compile(r"\s*(`{3,}|~{3,})")


@dataclass(frozen=True)
class Passage:
    """Some paragraphs of a document that stand together under one heading."""

    source: str  # path inside the folder, and the heading
    text: str


def add_passages(inputs: NodeInputs, setting: Mapping[str, Any] | None) -> NodeInputs:
    """Return the node's inputs with the passages that its arm's ``retrieval`` setting finds."""
    if not setting:
        return inputs
    passages = split_folder(Path(setting["folder"]))
    found = best(passages, retrieval_query(inputs), int(setting["top_k"]))
    return replace(inputs, passages=[(passage.source, passage.text) for passage in found])


def documents(folder: Path) -> list[Path]:
    """Return the folder's documents in name order: what a node with retrieval depends on.

    Errors: SpeedrunError where there is none, or where a link leads out of the folder.
    """
    if not folder.is_dir():
        raise SpeedrunError(f"retrieval folder {folder} is missing: make it or drop the setting")
    found = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    for path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise SpeedrunError(f"{path} leads out of the retrieval folder: replace it by a copy")
    if not found:
        raise SpeedrunError(f"retrieval folder {folder} holds no {' or '.join(SUFFIXES)} file")
    return [path for path in found if path.is_file()]


def split_folder(folder: Path) -> list[Passage]:
    """Return all passages of the folder's documents, in reading order."""
    return [
        passage
        for path in documents(folder)
        for passage in split_document(path.relative_to(folder).as_posix(), _read(path))
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpeedrunError(f"{path} is not UTF-8 text ({error}): mend it") from error


def split_document(name: str, text: str) -> list[Passage]:
    """Split a document at its headings, and below them between paragraphs, at WORDS_MAX words."""
    passages = []
    for heading, paragraphs in _sections(text):
        source = f"{name}, {heading}" if heading else name
        passages += [Passage(source, body) for body in _joined(paragraphs)]
    return passages


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each heading with the paragraphs under it; what stands first has no heading."""
    heading, paragraphs = "", list[str]()
    for block in _blocks(text):
        found = HEADING.fullmatch(block)
        if found:
            yield heading, paragraphs
            heading, paragraphs = found[1], []
        else:
            paragraphs.append(block)
    yield heading, paragraphs


def _blocks(text: str) -> Iterator[str]:
    """Yield headings and paragraphs; blank lines and # inside a fenced block part nothing."""
    lines, fence = list[str](), ""
    for line in text.splitlines():
        mark = FENCE.match(line)
        parts = not fence and (not line.strip() or HEADING.fullmatch(line))
        if parts:
            yield from _block(lines)
            yield from _block([line])
            lines = []
            continue
        lines.append(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
    yield from _block(lines)


def _block(lines: Sequence[str]) -> Iterator[str]:
    text = "\n".join(lines)
    if text.strip():
        yield text.rstrip()


def _joined(paragraphs: Sequence[str]) -> Iterator[str]:
    """Yield neighbouring paragraphs together while they stay within WORDS_MAX."""
    body, size = list[str](), 0
    for part in (part for paragraph in paragraphs for part in _short(paragraph)):
        words = len(part.split())
        if body and size + words > WORDS_MAX:
            yield "\n\n".join(body)
            body, size = [], 0
        body, size = [*body, part], size + words
    if body:
        yield "\n\n".join(body)


def _short(paragraph: str) -> Iterator[str]:
    """Yield a paragraph, in pieces where it is too long by itself: whole lines if they allow."""
    piece, size = list[str](), 0
    for line in paragraph.split("\n"):
        words = line.split()
        for start in range(0, max(1, len(words)), WORDS_MAX):
            part = line if len(words) <= WORDS_MAX else " ".join(words[start : start + WORDS_MAX])
            count = len(part.split())
            if piece and size + count > WORDS_MAX:
                yield "\n".join(piece)
                piece, size = [], 0
            piece, size = [*piece, part], size + count
    yield "\n".join(piece)


def best(passages: Sequence[Passage], query: str, top_k: int) -> list[Passage]:
    """Return at most ``top_k`` passages that share a word with the query, best first.

    Equal scores stand in reading order. A word of the query counts once, however often it is there.
    """
    import bm25s

    if top_k < 1:
        raise SpeedrunError(f"retrieval: top_k must be at least 1, got {top_k}")
    if not passages:
        return []
    texts = [f"{passage.source}\n{passage.text}" for passage in passages]
    words = _words([query])[0]
    index = bm25s.BM25(backend="numpy")
    index.index(_words(texts), show_progress=False)
    known = sorted(set(words) & set(index.vocab_dict))
    if not known:
        return []
    scores = [round(float(score), 6) for score in index.get_scores(known)]
    order = sorted(range(len(passages)), key=lambda place: (-scores[place], place))
    return [passages[place] for place in order[:top_k] if scores[place] > 0]


def _words(texts: Sequence[str]) -> list[list[str]]:
    import bm25s

    found: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords="english", return_ids=False, show_progress=False
    )
    return found
