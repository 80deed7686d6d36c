"""Embedders: lists of code chunks to arrays, by name from config/embedder.

- ``minilm``: all-MiniLM-L6-v2, carried inside an installed package; offline, 256 tokens a chunk.
- ``lexical``: hashed bag of code tokens; no model, no training, so that a chunk's vector never
  depends on what else is embedded.
- ``sfr``: Salesforce/SFR-Embedding-Code-2B_R (arXiv 2506.22419 uses it); needs its weights, whose
  licence is CC BY-NC 4.0, and remote code pinned to a revision.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speedrun import files

Array = npt.NDArray[Any]
Embed = Callable[[list[str]], Array]
CODE_TOKEN = r"[A-Za-z]+|[0-9.]+|[^\sA-Za-z0-9]"
NAMES = ("lexical", "minilm", "sfr")


def make(config: Mapping[str, Any], store: Path) -> Embed:
    """Return the embedder of a config/embedder file; model embeddings are cached in ``store``.

    The model is loaded at the first chunk that is not in the cache.
    """
    name = str(config.get("name"))
    if name == "lexical":
        return Lexical(int(config["features"]))
    if name not in NAMES:
        raise files.SpeedrunError(f"unknown embedder {name!r}: choose one of {', '.join(NAMES)}")
    load = (lambda: _load_minilm(config)) if name == "minilm" else (lambda: _load_sfr(config))
    identity = {key: value for key, value in config.items() if key not in ("batch_size", "device")}
    return Cached(load, store / "embeddings" / f"{name}-{files.digest_value(identity)[:8]}")


class Lexical:
    """Term frequencies of code tokens, log-scaled, hashed to a fixed width and L2-normalised.

    Identifiers are split at underscores and digits, so that ``num_heads`` and ``heads`` meet. No
    inverse document frequencies: they would make one trial's score depend on the other trials.
    """

    def __init__(self, features: int) -> None:
        """``features`` is the width of the vectors; token and token-pair counts share it."""
        self.features = features

    def __call__(self, texts: list[str]) -> Array:
        """Return an array (texts, features)."""
        from sklearn.feature_extraction.text import HashingVectorizer

        vectoriser = HashingVectorizer(
            analyzer=_tokens_and_pairs, n_features=self.features, alternate_sign=False, norm=None
        )
        counts = vectoriser.transform(texts).toarray()
        scaled = np.log1p(counts)
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        return np.asarray(scaled / np.where(norms > 0, norms, 1.0))


def _tokens_and_pairs(text: str) -> list[str]:
    tokens = re.findall(CODE_TOKEN, text)
    return tokens + [f"{a} {b}" for a, b in itertools.pairwise(tokens)]


class Cached:
    """An embedder whose vectors are kept by the SHA-256 of the chunk, one .npy file each."""

    def __init__(self, load: Callable[[], Embed], folder: Path) -> None:
        """``load`` returns the embedder; it is called at the first chunk not in ``folder``."""
        self._load = load
        self._folder = folder
        self._embed: Embed | None = None

    def __call__(self, texts: list[str]) -> Array:
        """Return an array (texts, dimensions), embedding only what is not kept yet."""
        missing = sorted({text for text in texts if not self._path(text).is_file()})
        if missing:
            self._embed = self._embed or self._load()
            for text, vector in zip(missing, self._embed(missing), strict=True):
                _save(self._path(text), np.asarray(vector, dtype=np.float32))
        return np.stack([np.load(self._path(text)) for text in texts])

    def _path(self, text: str) -> Path:
        digest = files.digest_text(text)
        return self._folder / digest[:2] / f"{digest}.npy"


def _save(path: Path, vector: Array) -> None:
    with files.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, vector)


def _load_minilm(config: Mapping[str, Any]) -> Embed:
    package = str(config["package"])
    try:
        folder = importlib.import_module(package).get_model_path()
        return _sentence_transformer(str(folder), config)
    except (ImportError, AttributeError, OSError) as error:
        raise files.SpeedrunError(
            f"embedder minilm: package {package} cannot be loaded ({error}): run `make setup`, "
            "or use embedder=lexical"
        ) from error


def _load_sfr(config: Mapping[str, Any]) -> Embed:
    model, revision = str(config["model"]), str(config["revision"])
    options = {"revision": revision, "trust_remote_code": True}
    try:
        return _sentence_transformer(model, config, **options)
    except Exception as error:  # the hub, the remote code and torch each raise their own
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise files.SpeedrunError(
            f"embedder sfr: {model} at revision {revision} cannot be loaded ({reason}): download "
            f"it with `hf download {model} --revision {revision}` (5 GB), or use embedder=minilm"
        ) from error


def _sentence_transformer(name: str, config: Mapping[str, Any], **options: Any) -> Embed:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(name, device=str(config["device"]), **options)
    if config.get("max_tokens"):
        model.max_seq_length = int(config["max_tokens"])
    size = int(config["batch_size"])

    def embed(texts: list[str]) -> Array:
        return np.asarray(model.encode(texts, batch_size=size, show_progress_bar=False))

    return embed
