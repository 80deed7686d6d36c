"""`python bench/prove_tokens.py [MB]`: our GPT-2 tokens against tiktoken's, token for token.

Installed text (many languages' translations, code, prose) and generated, hostile Unicode. It exits
with 1 at the first difference. The result of the last run stands in docs/data.md.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable, Iterator

import bench_text
import numpy as np

from speedrun.stages.tokenize import gpt2

BATCH = 256
HOSTILE_SHARE = 0.25


def main() -> int:
    """Compare, print the counts, and return the exit code."""
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 60_000_000
    begin = time.process_time()
    for name, texts in (
        ("installed", bench_text.installed(int(size * (1 - HOSTILE_SHARE)))),
        ("generated", bench_text.hostile(int(size * HOSTILE_SHARE), seed=1)),
    ):
        documents, count, seen = compare(texts)
        print(f"{name}: {documents} documents, {seen / 1e6:.1f} MB, {count} tokens: all equal")
    print(f"{time.process_time() - begin:.0f} CPU s")
    return 0


def compare(texts: Iterable[str]) -> tuple[int, int, int]:
    """Return documents, tokens and bytes; exit at the first document that differs."""
    encoder, documents, count, seen = gpt2.Encoder(), 0, 0, 0
    for batch in _batches(texts):
        tokens, starts = encoder.encode(batch)
        for text, begin, end in zip(batch, starts[:-1], starts[1:], strict=True):
            if not np.array_equal(tokens[begin:end], gpt2.reference_tokens(text)):
                sys.exit(f"differs from tiktoken: {text[:200]!r} (document {documents})")
            documents += 1
            seen += len(text.encode())
        count += len(tokens)
    return documents, count, seen


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Return the documents in lists of BATCH."""
    whole = iter(texts)
    return iter(lambda: list(itertools.islice(whole, BATCH)), [])


if __name__ == "__main__":
    sys.exit(main())
