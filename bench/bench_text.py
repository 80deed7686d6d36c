"""Text for the tokeniser's bench and proof: what is installed here, and generated Unicode.

Both need many scripts and hostile characters, without a download. Sources are the files of the
environment's packages (code, prose, translations, data); the generated part is seeded.
"""

from __future__ import annotations

import random
import sys
import sysconfig
import unicodedata
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".py", ".pyi", ".md", ".rst", ".txt", ".json", ".po", ".html", ".js", ".css", ".h")
LARGEST = 1_000_000  # characters of a file
SPACES = [chr(code) for code in range(sys.maxunicode) if chr(code).isspace()]
SPECIAL = ("<|endoftext|>", "<|endoftext|", "|>", "<|fim_prefix|>", "<|endofprompt|>")
CONTRACTIONS = ("'s", "'S", "'ll", "'LL", "'ve", "'re", "'d", "'m", "'t", "\u2019s", "''s", "'sa")
SCRIPTS = (
    (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF),
    (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1F00, 0x1FFF),
    (0x2000, 0x206F), (0x2150, 0x218F), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xE000, 0xF8FF), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF),
    (0x20000, 0x2A6DF), (0xE0000, 0xE007F),
)  # fmt: skip


def installed(size: int) -> Iterator[str]:
    """Yield the text of installed files until ``size`` bytes are reached."""
    root, seen = Path(sysconfig.get_path("purelib")), 0
    for path in sorted(root.rglob("*")):
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")[:LARGEST]
        seen += len(text.encode())
        yield text
        if seen >= size:
            return


def hostile(size: int, seed: int) -> Iterator[str]:
    """Yield generated documents until ``size`` bytes are reached: each mixes every trap."""
    generator, seen = random.Random(seed), 0
    yield from ("", " ", "\n", "\0", "\ufeff", *SPACES, *SPECIAL, *CONTRACTIONS)
    while seen < size:
        text = "".join(_piece(generator) for _ in range(generator.randrange(1, 400)))
        text = unicodedata.normalize(generator.choice(("NFC", "NFD", "NFKC", "NFKD")), text)
        seen += len(text.encode())
        yield text


def _piece(generator: random.Random) -> str:
    draws = (
        lambda: _word(generator, generator.choice(SCRIPTS)),
        lambda: _word(generator, (0, sys.maxunicode)),
        lambda: "".join(generator.choices(SPACES, k=generator.randrange(1, 9))),
        lambda: " " * generator.randrange(1, 70),
        lambda: generator.choice(SPECIAL + CONTRACTIONS),
        lambda: str(generator.randrange(10 ** generator.randrange(1, 30))),
        lambda: generator.choice("aA!= -\n\té語🙂\u200d\u0301") * generator.randrange(1, 200),
        lambda: generator.choice((" ", "\n", "\r\n", "\t", "\u00a0", "\u2028")),
    )
    return generator.choice(draws)()


def _word(generator: random.Random, codes: tuple[int, int]) -> str:
    drawn = (generator.randint(*codes) for _ in range(generator.randrange(1, 12)))
    return "".join(chr(code) for code in drawn if not 0xD800 <= code <= 0xDFFF)
