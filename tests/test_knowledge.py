"""Our knowledge documents: their examples run, their sources are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((REPOSITORY / "knowledge").rglob("*.md"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, as it compiles
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_the_examples_of_our_documents_run(document: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    exec(compile("\n\n".join(blocks), document.name, "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_our_documents_name_their_sources(document: Path) -> None:
    text = document.read_text()
    assert "## Sources" in text and "https://arxiv.org/abs/" in text
    assert max(map(len, text.split("\n"))) <= 120
