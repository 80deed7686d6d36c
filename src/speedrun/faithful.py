"""Which records a machine can run as the experiments that they were.

A record on fewer GPUs than its batch is made for, or without a kernel that it calls, is another
experiment: it is listed with its reason, never silently run.
"""

from __future__ import annotations

from typing import Any

from speedrun.registry import Record

NEEDS = {
    "cuda": "an NVIDIA GPU",
    "flex_attention": "PyTorch's FlexAttention on a GPU",
    "fp8": "FP8 matrix products (compute capability 8.9 or later)",
    "hopper": "a Hopper GPU (H100 or H200)",
    "triton": "Triton",
    "tma": "Triton's tensor descriptors (a Hopper GPU)",
    "fa3_source": "FlashAttention 3 built from source (flash_attn_interface)",
    "kernel_hub": "a kernel that it downloads from the kernel hub at its start",
    "tiktoken_download": "the GPT-2 vocabulary that tiktoken downloads at its start",
}
DOWNLOADS = frozenset({"kernel_hub", "tiktoken_download"})  # what a filled hub_cache holds


def unfaithful(record: Record, hardware: dict[str, Any]) -> str:
    """Return why a hardware profile cannot run a record as it was meant, "" if it can."""
    return _lacks(record.needs, hardware) or _other_size(record, hardware)


def _lacks(needs: list[str], hardware: dict[str, Any]) -> str:
    has = set(hardware.get("capabilities", []))
    if hardware.get("hub_cache"):
        has |= DOWNLOADS
    missing = [need for need in needs if need not in has]
    if not missing:
        return ""
    need = missing[0]
    remedy = " (set hardware.hub_cache)" if need in DOWNLOADS else ""
    return f"needs {NEEDS.get(need, need)}, which this profile does not declare{remedy}"


def _other_size(record: Record, hardware: dict[str, Any]) -> str:
    """Say so when the number of GPUs would change the experiment."""
    size = hardware.get("world_size", 1)
    if not record.world_sizes or size in record.world_sizes:
        return ""
    *some, last = (str(one) for one in record.world_sizes)
    wanted = f"{', '.join(some)} or {last}" if some else last
    reason = record.world_size_reason.strip()
    found = f"needs {wanted} GPU{'' if wanted == '1' else 's'}, this profile has {size}"
    return f"{found}: {reason[:1].lower()}{reason[1:].rstrip('.')}" if reason else found
