"""A small real git repository in the shape of the upstream speedrun's, and its registry.

Every layout of logs and every trap is in it. Fifteen rows, numbers 1 to 13 (number 8 three times);
twelve transitions, of which r04-r05 and r10-r11 are excluded: ten tasks, seven of them strict.
Dates and authors are fixed, so that equal builds have equal commits.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from upstream_logs import Log
from upstream_rows import (
    LATE,
    R01,
    R02,
    R03,
    R08C,
    R09,
    R10,
    R12,
    R13,
    ROW_LIST,
    TRACK,
    Row,
    all_logs,
    readme,
)

ROWS, TASKS, STRICT = 15, 10, 7


# --- git ---------------------------------------------------------------------------------------
@dataclass
class History:
    """Commits of fixed author and date, written by ``git fast-import`` as loose objects."""

    repository: Path
    day: int = 0

    def commit(self, branch: str, changes: Mapping[str, bytes | str | None], *parents: str) -> str:
        """Add a commit to ``branch``; None deletes a path, a folder too. Returns its id."""
        self.day += 1
        who = f"Someone <someone@example.org> {1716854400 + 86400 * self.day} +0000"
        stream = f"commit refs/heads/{branch}\ncommitter {who}\ndata 6\nChange\n".encode()
        for word, parent in zip(["from"] + ["merge"] * len(parents), parents, strict=False):
            stream += f"{word} {parent}\n".encode()
        self._git("fast-import", "--quiet", "--force", data=stream + _changes(changes))
        return self._git("rev-parse", f"refs/heads/{branch}").decode().strip()

    def _git(self, *words: str, data: bytes = b"") -> bytes:
        command = ["git", "-c", "fastimport.unpackLimit=100000", "--git-dir", str(self.repository)]
        return subprocess.run(
            [*command, *words], input=data, capture_output=True, check=True
        ).stdout


def _changes(changes: Mapping[str, bytes | str | None]) -> bytes:
    stream = b""
    for path, content in changes.items():
        if content is None:
            stream += f"D {path}\n".encode()
            continue
        data = content.encode() if isinstance(content, str) else content
        stream += f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"
    return stream


# --- what the tests are given --------------------------------------------------------------------
@dataclass(frozen=True)
class Built:
    """A bare repository (``master`` is pinned, ``next`` is newer) and its registry.yaml."""

    repository: Path
    registry: Path
    commit: str  # pinned
    newer: str  # a row changed, one is new
    merge: str  # r09's merge commit, whose tree is not the timed one
    logs: dict[str, Log]  # path -> what it holds
    sources: dict[str, dict[str, str]]  # record id -> the timed files, normalised


UNRELATED = f"{TRACK}/2024-11-04_Elsewhere/00000000.txt"  # of no record


def build(folder: Path) -> Built:
    """Make ``folder/upstream.git`` and ``folder/registry.yaml``."""
    repository = folder / "upstream.git"
    _git("init", "--quiet", "--bare", "--initial-branch=master", str(repository))
    for key in ("allowFilter", "allowAnySHA1InWant"):
        _git("--git-dir", str(repository), "config", f"uploadpack.{key}", "true")
    commits = _commits(History(repository))
    registry = folder / "registry.yaml"
    registry.write_text(_registry(repository, commits), encoding="utf-8")
    sources = {row.id: row.files for row in ROW_LIST}
    return Built(
        repository,
        registry,
        commits["master"],
        commits["next"],
        commits["merge"],
        all_logs(),
        sources,
    )


def edited(built: Built, folder: Path, **changes: dict[str, object]) -> Path:
    """A copy of the registry in which records (by id) or ``upstream`` have other values."""
    data = yaml.load(built.registry.read_text(), Loader=yaml.CSafeLoader)
    for record in data["records"]:
        record |= changes.get(record["id"], {})
    data["upstream"] |= changes.get("upstream", {})
    path = folder / "edited.yaml"
    path.write_text(yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False))
    return path


def without_blob(built: Built, path: str, commit: str = "") -> None:
    """Delete the object of a file, so that reading it fails as it does in a damaged mirror."""
    command = ["git", "--git-dir", str(built.repository), "rev-parse"]
    found = subprocess.run(
        [*command, f"{commit or built.commit}:{path}"], capture_output=True, text=True, check=True
    )
    name = found.stdout.strip()
    (built.repository / "objects" / name[:2] / name[2:]).unlink()


def _commits(history: History) -> dict[str, str]:
    def add(
        changes: Mapping[str, bytes | str | None], *parents: str, branch: str = "master"
    ) -> str:
        return history.commit(branch, changes, *parents)

    old = readme(ROW_LIST[:10])
    made = {"r01": add({"train_gpt2.py": R01, "README.md": readme(ROW_LIST[:1])})}
    made["r02"] = add({"train_gpt2.py": R02, "run.sh": "python train_gpt2.py\n"}, made["r01"])
    made["r03"] = add({"train_gpt2.py": R03, "LICENSE": "MIT\n"}, made["r02"])
    fourth = add({"train_gpt2.py": None, "train_gpt.py": R08C, "README.md": old}, made["r03"])
    side = add({"train_gpt.py": R09.replace("import time\n", "")}, fourth, branch="side")
    other = add({"data/fineweb.py": "# downloads nothing\n"}, fourth)
    made["merge"] = add({"train_gpt.py": R09.replace("import time\n", "")}, other, side)
    made["r09"] = add({"train_gpt.py": R09}, made["merge"])
    made["r10"] = made["r11"] = add(R10, made["r09"])
    made["r12"] = add(R12, made["r10"])
    made["r13"] = add(R13, made["r12"])
    made["master"] = add(_records_folder() | {"README.md": readme(ROW_LIST)}, made["r13"])
    made["next"] = add(_next(), made["master"], branch="next")
    return made


def _records_folder() -> dict[str, bytes | str | None]:
    logs: dict[str, bytes | str | None] = {path: log.content() for path, log in all_logs().items()}
    notes = {
        f"{TRACK}/2024-10-13_llmc/README.md": "Baseline.\n",
        f"{TRACK}/2024-12-04_ValueEmbed/loss.png": b"\x89PNG\r\n\x1a\n\x00",
        UNRELATED: b"an experiment that is no record\n",
    }
    return logs | notes


def _next() -> dict[str, bytes | str | None]:
    """Return the newer page: r07's time corrected, a fourteenth record."""
    rows = [
        Row(**{**vars(row), "minutes": "10.57 minutes"}) if row.id == "r07" else row
        for row in ROW_LIST
    ]
    fourteenth = Row(
        "r14", "4.9 minutes", "Fewer steps", "2026-08-02", "2026-08-02_Fewer", "0.txt", R13, "late",
        "git_final", pull_request=350,
    )  # fmt: skip
    log = Log("C2F", R13, step_ms=49, **LATE).content()
    return {"README.md": readme([*rows, fourteenth]), f"{TRACK}/2026-08-02_Fewer/0.txt": log}


def _git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)


# --- the registry --------------------------------------------------------------------------------
def _registry(repository: Path, commits: Mapping[str, str]) -> str:
    upstream = {
        "url": repository.as_uri(),
        "commit": commits["master"],
        "date": "2026-08-01",
        "licence": "MIT",
        "attribution": "the authors of the tests",
        "readme": "README.md",
        "table": "World record history",
    }
    eras = [
        {"id": "early", "title": "one script", "torch": "2.4", "requirements": "llmc.txt"},
        {"id": "flex", "title": "FlexAttention", "torch": "2.6", "requirements": "flex.txt"},
        {"id": "late", "title": "Triton kernels", "torch": "2.10.0", "requirements": "kernels.txt"},
    ]
    excluded = {"r04-r05": "only PyTorch was upgraded", "r10-r11": "only PyTorch was upgraded"}
    records = [_record(row, commits) for row in ROW_LIST]
    content = {"track": "nanogpt", "entry": "train_gpt.py", "upstream": upstream, "eras": eras}
    content |= {"excluded": excluded, "records": records}
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def _record(row: Row, commits: Mapping[str, str]) -> dict[str, Any]:
    folder = f"{TRACK}/{row.folder}" if row.folder else ""
    return {
        "id": row.id,
        "number": row.number,
        "time_minutes": float(row.minutes.split()[0]),
        "date": row.date,
        "title": f"record {row.id} of the tests",
        "era": row.era,
        "source": _source(row, commits),
        "sha256": {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in row.files.items()
        },
        "contributors": ["someone"],
        "ai_system": row.ai_system,
        "pull_request": row.pull_request or None,
        "log": f"{folder}/{row.link}".rstrip("/"),
        "log_folder": folder,
        **row.more,
    }


def _source(row: Row, commits: Mapping[str, str]) -> dict[str, Any]:
    if row.source == "log":
        link = row.link or "00000001.txt"
        return {"kind": "log", "log": f"{TRACK}/{row.folder}/{link}"}
    paths = [row.path, *list(row.files)[1:]]
    return {"kind": row.source, "commit": commits[row.id], "paths": paths}
