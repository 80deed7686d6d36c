"""A stand-in for nvidia-smi, and two cards for it to list."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speedrun.runner import gpu

CARDS = [
    "0, GPU-aa11, NVIDIA H200, 580.1, 3, 00000000:1B:00.0",
    "1, GPU-bb22, NVIDIA H200, 580.1, [N/A], 00000000:9C:00.0",
]
GPU: dict[str, Any] = {"device": "cuda", "gpu": "NVIDIA H200"}
Smi = Callable[..., Path]


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """Put an nvidia-smi with these cards first on the PATH, and no variable about cards."""
    for name in list(os.environ):
        if name in gpu.PASSED or name.startswith(gpu.PASSED_PREFIX):
            monkeypatch.delenv(name)

    def install(*lines: str) -> Path:
        driver = folder / "driver" / "bin"
        driver.mkdir(parents=True, exist_ok=True)
        script = "#!/bin/sh\ncat <<'X'\n" + "\n".join(lines) + "\nX\n"
        (driver / "nvidia-smi").write_text(script)
        (driver / "nvidia-smi").chmod(0o755)
        if str(driver) not in os.environ["PATH"]:
            monkeypatch.setenv("PATH", f"{driver}:{os.environ['PATH']}")
        return driver

    return install
