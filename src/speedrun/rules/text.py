"""The rule ``injection``: words in comments, strings and names that address whoever judges."""

from __future__ import annotations

import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator

from speedrun.rules.code import Code, Fact

JUDGES = (
    r"(?:judges?|graders?|reviewers?|auditors?|evaluators?|ai assistants?|assistants?|"
    r"(?:large )?language models?|llms?|chatgpt|claude|gpt-?[45o]\w*|gemini|ai models?)"
)
PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instructions?|prompts?|rules?|above|"
        r"rubrics?|guidelines?)\b",
        r"\byou are (?:now )?(?:an?|the) (?:\w+ )?" + JUDGES,
        r"\b(?:note|message|attention|instructions?|hint|dear|hello|hi|to)[ ,:]+(?:to |for )?"
        r"(?:the |all |any )?" + JUDGES + r"\b\s*[:,.!]",
        r"\b(?:note|message|instructions?) (?:to|for) (?:the |any |all )?" + JUDGES,
        JUDGES + r"\b.{0,20}\b(?:must|should|please|shall|will|can) (?:not )?"
        r"(?:accept|approve|pass|mark|rate|score|give|answer|reply|respond|output|skip|conclude)",
        r"\b(?:do not|don't|never|no need to)\b.{0,20}\b(?:flag|reject|penali[sz]e|disqualify|"
        r"mark as|report (?:it|us|me|this (?:file|code|solution|as)))\b",
        r"\b(?:this|the|our) (?:\w+ )?(?:solution|submission|code|script|entry)\b.{0,30}\b"
        r"(?:was|is|has been) (?:already |fully )?(?:approved|verified|audited|compliant|honest|"
        r"reviewed|allowed|legitimate|valid and)\b",
        r"\b(?:score|grade|rating|verdict|similarity)\b.{0,15}(?:=|:|of|to be|should be|must be)"
        r"\s*[\"']?(?:10|100|1\.0+|perfect|confirmed|accepted|pass(?:ed)?)\b[\"']?",
        r"<\|?(?:im_start|im_end|system|endofprompt|assistant)\|?>|\[/?INST\]|^\s*system\s*:",
        r"\brespond (?:only )?with\b|\byour (?:task|job|verdict|answer) (?:is|must|should)\b",
    )
)
HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


def facts(code: Code, _: float | None) -> Iterator[Fact]:
    """Yield texts that speak to a judge, and characters that nobody can see."""
    for file, text in code.folder.texts.items():
        for line, words in _texts(file, text):
            match = spoken(words)
            if match:
                yield Fact("injection", match.lower(), file, line, f"says {match!r}")
        for hidden in HIDDEN.finditer(text):
            line = text.count("\n", 0, hidden.start()) + 1
            what = f"holds the invisible character U+{ord(hidden.group()):04X}"
            yield Fact("injection", f"hidden {ord(hidden.group()):04X}", file, line, what)


def spoken(words: str) -> str:
    """Return the part of ``words`` that addresses a judge, or ""."""
    plain = HIDDEN.sub("", unicodedata.normalize("NFKC", words))
    plain = re.sub(r"[\s#*_`]+", " ", plain)[:100_000]
    for pattern in PATTERNS:
        match = pattern.search(plain)
        if match:
            return " ".join(match.group().split())[:100]
    return ""


def _texts(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of strings and of comments; comments on following lines are one text."""
    if not file.endswith(".py"):
        yield 1, text
        return
    block: list[str] = []
    first = last = 0
    for kind, words, line in _tokens(text):
        if kind == tokenize.COMMENT:
            if block and line > last + 1:
                yield first, " ".join(block)
                block = []
            first = first if block else line
            block.append(words.lstrip("#! "))
            last = line
        else:
            yield line, words
    if block:
        yield first, " ".join(block)


def _tokens(text: str) -> Iterator[tuple[int, str, int]]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                yield token.type, token.string, token.start[0]
    except (tokenize.TokenError, SyntaxError, ValueError):
        return
