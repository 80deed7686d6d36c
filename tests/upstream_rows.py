"""The rows of the generated upstream repository: sources, logs, and the page with the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from upstream_logs import Log
from upstream_scripts import early, kernels, main

TRACK = "records/track_1_short"
IMPORT = ("from triton_kernels import softcap",)

# --- the sources that were timed ---------------------------------------------------------------
R01, R02, R03 = early("one", 0.0018), early("two", 0.0036), early("three", 0.02)
R04 = main("four", 0.04, look_alikes=True)
R06 = main("six", 0.05, look_alikes=True)
R07 = main("seven", 0.055)
R08 = main("eight", 0.06, look_alikes=True)
R08B = R08.replace("learning_rate = 0.06", "learning_rate = 0.06  # untimed warmup")
R08C = R08B + "# compiles with a newer torch\n"
R09 = main("nine", 0.07)
R10 = {
    "train_gpt.py": main("ten", 0.08, imports=IMPORT, look_alikes=True),
    "triton_kernels.py": kernels("ten", 15.0),
}
R12 = {
    "train_gpt.py": main("twelve", 0.09, imports=(*IMPORT, "import dc_triton_kernels")),
    "triton_kernels.py": kernels("twelve", 15.0),
    "dc_triton_kernels.py": kernels("twelve, dynamic", 30.0),
}
R13 = R12 | {"train_gpt.py": R12["train_gpt.py"] + "# the same mathematics, fewer steps\n"}

# --- the logs that upstream keeps; the first of a folder is the linked one ------------------------
LLMC = Log("A", last_loss=3.2722)
EARLY_TORCH, FLEX, FP8 = "2.4.1+cu121", "2.6.0.dev20241119+cu124", "2.7.0.dev20250110+cu126"
LATE = {"torch": "2.10.0+cu128", "triton": "3.6.0"}


def _one(code: str) -> dict[str, str]:
    return {"train_gpt.py": code}


def _logs(layout: str, files: dict[str, str], losses: Sequence[float], **more: Any) -> list[Log]:
    return [Log(layout, files, last_loss=loss, **more) for loss in losses]


def all_logs() -> dict[str, Log]:
    """Return every log by its path."""
    folders = {
        "2024-10-13_llmc": {"main.log": LLMC},
        "2024-06-06_AdamW": {"f66d43d7.log": Log("A", last_loss=3.2764, val_every=50)},
        "2024-10-10_Muon": {"eb5659d0.txt": Log("B2", _one(R04), torch=EARLY_TORCH, step_ms=140)},
        "2024-10-18_PyTorch25": {
            "d4bfb25f.txt": Log("B2", _one(R04), torch="2.5.0+cu124", step_ms=120, line_end="\r\n")
        },
        "2024-11-19_FlexAttention": {
            "8384493d.txt": Log("B3", _one(R06), torch=FLEX, step_ms=100),
            "6037e443.txt": Log("B3", _one(R06), torch=FLEX, step_ms=100, last_step=150),
        },
        "2024-12-04_ValueEmbed": _numbered(
            [
                *_logs("C3", _one(R07), (3.2781, 3.2789), torch=FLEX, step_ms=90),
                Log("C3", _one(R07), torch=FLEX, step_ms=90, raw_noise=b"caf\xe9 \xff\xfe \x80"),
            ]
        ),
        "2025-01-13_Fp8LmHead": {
            "c51969c2.txt": Log("C2", _one("\n\n" + R08 + "\n"), torch=FP8, step_ms=80)
        },
        "2025-02-01_RuleTweak": {"eff63a8c.txt": Log("C2", _one(R08B), torch=FP8, step_ms=83)},
        "2025-05-24_StableTorch": {
            "89d9f224.txt": Log("C2", _one(R08C), torch="2.8.0.dev20250524+cu126", step_ms=84)
        },
        "2025-12-11_Optims": _numbered(
            # The linked log is the baseline: its code is the record's before.
            _logs("C2", _one(R08C), (3.2787,), torch="2.9.0.dev20250713+cu126", step_ms=84)
            + _logs(
                "C2",
                _one(R09),
                (3.2779, 3.2790, 3.2771),
                torch="2.9.0.dev20250713+cu126",
                step_ms=70,
            )
        ),
        "2026-01-18_Unified": {
            # The linked log was made on one GPU.
            "prefix-1x/1b20ccf2.txt": Log("C2F", R10, gpus=1, step_ms=480, **LATE),
            "prefix-8x/2c31ddf3.txt": Log("C2F", R10, step_ms=60, **LATE),
            "prefix-8x/3d42eef4.txt": Log("C2F", R10, step_ms=61, last_loss=3.2794, **LATE),
        },
        "2026-05-27-MuddGated": {
            "this_pr/0ab4a843.txt": Log("C2F", R12, step_ms=50, last_loss=3.2782, **LATE),
            "this_pr/1bc5b954.txt": Log("C2F", R12, step_ms=51, last_loss=3.2776, **LATE),
            "baseline/2cd6ca65.txt": Log("C2F", R10, step_ms=60, last_loss=3.2786, **LATE),
        },
    }
    return {
        f"{TRACK}/{folder}/{name}": log
        for folder, logs in folders.items()
        for name, log in logs.items()
    }


def _numbered(logs: Sequence[Log]) -> dict[str, Log]:
    return {f"{index:08d}.txt": log for index, log in enumerate(logs)}


# --- the rows ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Row:
    """One row of the table, and where the record's source is."""

    id: str
    minutes: str  # as the table writes it
    description: str
    date: str  # ISO 8601
    folder: str  # the logs' folder, or "" without one
    link: str  # what the table links, below the folder
    files: dict[str, str]  # the timed source, by the names under files/
    era: str
    source: str  # log | git_early | git_final
    path: str = "train_gpt.py"  # the entry file in git
    contributors: str = "@someone"
    pull_request: int = 0
    ai_system: str = ""
    more: dict[str, Any] = field(default_factory=dict)  # further registry keys

    @property
    def number(self) -> int:
        return int(self.id[1:3])


def _early(
    name: str, minutes: str, date: str, folder: str, link: str, code: str, **more: Any
) -> Row:
    facts = {"flags": ["reconstructed_source"], "arguments": ["--num_iterations", "200"], **more}
    return Row(
        name, minutes, f"[Early {name}](https://example.org/{name})", date, folder, link,
        _one(code), "early", "git_early", "train_gpt2.py", more=facts,
    )  # fmt: skip


ROW_LIST = [
    _early("r01", "45 minutes", "2024-05-28", "2024-10-13_llmc", "main.log", R01),
    _early("r02", "31.4 minutes", "2024-06-06", "2024-06-06_AdamW", "f66d43d7.log", R02),
    _early("r03", "24.9 minutes", "2024-10-04", "", "", R03,
           flags=["no_log", "reconstructed_source"]),
    Row("r04", "22.3 minutes", "[Muon, step | by | step](https://example.org/a|b)", "2024-10-11",
        "2024-10-10_Muon", "eb5659d0.txt", _one(R04), "early", "log"),
    Row("r05", "20.0 minutes", "[a newer PyTorch](https://example.org/c)", "2024-10-18",
        "2024-10-18_PyTorch25", "d4bfb25f.txt", _one(R04), "early", "log",
        more={"flags": ["torch_upgrade_only"]}),
    Row("r06", "12.1 minutes", "[short → long, squared²](https://example.org/d)", "2024-11-19",
        "2024-11-19_FlexAttention", "8384493d.txt", _one(R06), "flex", "log"),
    Row("r07", "10.41 minutes", "[more tables](https://example.org/e)", "2024-12-04",
        "2024-12-04_ValueEmbed", "", _one(R07), "flex", "log",
        more={"flags": ["log_is_directory"]}),
    Row("r08", "8.1 minutes", "[eight bits](https://example.org/f)", "2025-01-13",
        "2025-01-13_Fp8LmHead", "c51969c2.txt", _one(R08), "flex", "log"),
    Row("r08b", "8.31 minutes", "the eighth, timed anew", "2025-02-01",
        "2025-02-01_RuleTweak", "eff63a8c.txt", _one(R08B), "flex", "log",
        contributors="no record: number #8 by the [newer rules](#rules)",
        more={"variant": "new timing rule", "flags": ["retiming_row"]}),
    Row("r08c", "8.44 minutes", "the eighth, on a newer torch", "2025-05-24",
        "2025-05-24_StableTorch", "89d9f224.txt", _one(R08C), "flex", "log",
        contributors="no record: number #8 on a newer torch",
        more={"variant": "newer torch", "flags": ["retiming_row"]}),
    Row("r09", "7.17 minutes", "A quicker optimiser", "2025-12-11", "2025-12-11_Optims",
        "00000000.txt", _one(R09), "late", "git_final", pull_request=168,
        more={"world_sizes": [1, 2, 4, 8]}),
    Row("r10", "6.05 minutes", "[one optimiser](https://example.org/g)", "2026-01-18",
        "2026-01-18_Unified", "prefix-1x/1b20ccf2.txt", R10, "late", "git_final", pull_request=200,
        contributors="@someone & AI System [Locus](https://example.org/h)", ai_system="Locus",
        more={"world_sizes": [1, 2, 4, 8], "needs": ["hopper", "kernel_hub"]}),
    Row("r11", "5.995 minutes", "another PyTorch", "2026-01-31", "", "", R10, "late", "git_final",
        contributors="-", more={"flags": ["no_log", "torch_upgrade_only"]}),
    Row("r12", "5.050 minutes", "gates, another start", "2026-05-27",
        "2026-05-27-MuddGated", "", R12, "late", "git_final", pull_request=315,
        more={"flags": ["log_is_directory"], "needs": ["hopper", "kernel_hub"]}),
    Row("r13", "4.98 minutes", "the same, put otherwise", "2026-05-27", "", "", R13, "late",
        "git_final", pull_request=317, more={"flags": ["no_log", "pr_only_no_log"]}),
]  # fmt: skip


def _table_line(row: Row) -> str:
    """Return the row as upstream writes it: no '|' at either end, and one blank missing in r12."""
    year, month, day = row.date.split("-")
    blank = "" if row.id == "r12" else " "
    head = f"{row.number} | {row.minutes} | {row.description}{blank}| {month}/{day}/{year[2:]}"
    return f"{head} | {_log_cell(row)} | {row.contributors}"


def _log_cell(row: Row) -> str:
    path = f"{TRACK}/{row.folder}/{row.link}".rstrip("/")
    links = [f"[log]({path})"] if row.folder else []
    links += [f"[PR](https://example.org/pull/{row.pull_request})"] if row.pull_request else []
    return ",".join(links) or {"r03": "none"}.get(row.id, "-")


def readme(rows: Sequence[Row]) -> str:
    """Return the page: another table before the records', and one after it."""
    lines = "\n".join(map(_table_line, rows))
    return f"""# A speedrun

| # | Record time | Description | Date | Log | Contributors |
| - | - | - | - | - | - |
1 | 99 minutes | [another track](https://example.org/z) | 01/01/24 | none | @nobody

## World record history

What follows is the progression.

| # | Record time | Description | Date | Log | Contributors |
| - | - | - | - | - | - |
{lines}

## Rules

1 | 2 | 3 | 4 | 5 | 6
"""
