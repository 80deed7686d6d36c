"""On what a run ran, from the header of its log: versions, driver and GPUs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_VERSION = r"([\w.+-]{1,80})"
_PYTHON = re.compile(rf"\nRunning [Pp]ython {_VERSION}")
_TORCH = re.compile(rf"\nRunning (?:pytorch|PyTorch) {_VERSION}(?: compiled for CUDA {_VERSION})?")
_TRITON = re.compile(rf"\nRunning Triton version {_VERSION}")
_DRIVER = re.compile(rf"Driver Version: {_VERSION}")
# A GPU's row of nvidia-smi's table: number, name, persistence mode, PCI address.
_GPU = re.compile(
    r"\n\| {1,9}\d{1,4} {1,9}([^|\n]{1,80}?) {1,40}(?:On|Off|N/A) {1,9}\| {1,9}[0-9A-Fa-f]{4,8}:"
)
_GPUS_MAX = 1024


@dataclass(frozen=True)
class Environment:
    """Versions as the log prints them, "" where it does not; ``gpus`` has one name a GPU."""

    python: str = ""
    torch: str = ""
    cuda: str = ""  # that torch was compiled for
    triton: str = ""
    driver: str = ""
    gpus: list[str] = field(default_factory=list)


def environment(header: str) -> Environment:
    """Read a header: `Running ...` lines and the table that nvidia-smi prints."""
    text = "\n" + header
    torch = _TORCH.search(text)
    return Environment(
        python=_first(_PYTHON, text),
        torch=torch[1] if torch else "",
        cuda=(torch[2] or "") if torch else "",
        triton=_first(_TRITON, text),
        driver=_first(_DRIVER, text),
        gpus=_GPU.findall(text)[:_GPUS_MAX],
    )


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
