"""What one MLflow run shall hold, as plain values: no MLflow here, so it is cheap to test.

MLflow is strict about names, lengths and counts; a ``Mirror`` is already within its limits,
and its digest covers everything in it, which is what makes publishing idempotent.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from speedrun import files, schema
from speedrun.schema import StageRecord

NAME_LENGTH_MAX = 250
VALUE_LENGTH_MAX = 1000  # MLflow takes 6000, but a call of 100 of them would pass its 1 MB
NOTE_LENGTH_MAX = 8000
ARTIFACT_MB_MAX = 8  # shards and corpora stay in results/: a view needs no second copy of them
MS_PER_S = 1000
BYTES_PER_MB = 2**20


@dataclass(frozen=True)
class Point:
    """One metric value; ``time_ms`` is Unix time, ``step`` whatever the x-axis counts."""

    name: str
    value: float
    time_ms: int
    step: int


@dataclass
class Mirror:
    """One run: ``key`` is its stable name within the sweep, ``parent`` the key above it."""

    key: str
    name: str
    stage: str
    parent: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    attachments: dict[str, Path] = field(default_factory=dict)  # artifact name -> file
    texts: dict[str, str] = field(default_factory=dict)  # artifact name -> content made here
    start_ms: int = 1
    end_ms: int = 1
    note: str = ""  # Markdown, shown by the UI as the run's description

    def add_params(self, values: dict[str, Any], prefix: str = "") -> None:
        """Add parameters, nested ones as ``a.b``; None means not known and is left out."""
        self.params |= flatten(values, prefix)

    def add_stage_params(self, values: dict[str, Any], stage: str) -> None:
        """Add those parameters that are not there yet, as ``<stage>.<name>``."""
        for name, text in flatten(values).items():
            if self.params.get(name) != text:
                self.params[clean_name(f"{stage}.{name}")] = text

    def add_tags(self, values: dict[str, str], prefix: str = "") -> None:
        """Add tags; an empty value is left out."""
        for name, value in values.items():
            if value:
                self.tags[clean_name(prefix + name)] = shorten(value, VALUE_LENGTH_MAX)

    def add_point(self, name: str, value: float | None, time_ms: int, step: int = 0) -> None:
        """Add a metric value; None means not known and is left out, never logged as zero."""
        if value is not None:
            self.points.append(Point(clean_name(name), finite_or_nan(value), time_ms, step))

    def add_metrics(self, values: dict[str, float], stage: str) -> None:
        """Add final values; a name already taken by another value becomes ``<stage>.<name>``."""
        for name, value in values.items():
            known = self.last(clean_name(name))
            if known is None:
                self.add_point(name, value, self.end_ms)
            elif known != value:
                self.add_point(f"{stage}.{name}", value, self.end_ms)

    def last(self, name: str) -> float | None:
        """Return the latest value of a metric, or None without one."""
        values = [point.value for point in self.points if point.name == name]
        return values[-1] if values else None

    def attach(self, name: str, path: Path) -> None:
        """Attach a file, or a folder file by file, under the artifact name ``name``."""
        if path.is_dir():
            for inner in files.tree_files(path):
                self.attachments[f"{name}/{inner}"] = path / inner
        else:
            self.attachments[name] = path

    def digest(self) -> str:
        """Return the SHA-256 of all that is mirrored; equal digests mean equal runs."""
        content: list[Any] = [self.name, self.stage, self.parent, self.note]
        content += [self.params, self.tags, self.start_ms, self.end_ms]
        content += [[repr(point) for point in self.points], self.artifact_digests()]
        return files.digest_value(content)

    def artifact_digests(self) -> dict[str, str]:
        """Return ``{artifact name: sha256}`` of all artifacts."""
        made = {name: files.digest_text(text) for name, text in self.texts.items()}
        return made | {name: files.digest_file(path) for name, path in self.attachments.items()}

    def leave_out_large(self) -> None:
        """Replace files above ``ARTIFACT_MB_MAX`` by one list of their sizes and digests."""
        sizes = {name: path.stat().st_size for name, path in self.attachments.items()}
        large = {
            name: size for name, size in sizes.items() if size > ARTIFACT_MB_MAX * BYTES_PER_MB
        }
        if large:
            rows = {name: self._describe(name, size) for name, size in large.items()}
            self.texts["left_out.json"] = files.canonical_json(rows) + "\n"
            for name in large:
                del self.attachments[name]

    def _describe(self, name: str, size: int) -> dict[str, Any]:
        return {"bytes": size, "sha256": files.digest_file(self.attachments[name])}


def from_record(path: Path, name: str, parent: str) -> Mirror:
    """Return the run of one stage product from its ``<name>.record.json``."""
    record = schema.load(StageRecord, path)
    mirror = Mirror(key=name, name=name, stage=record.stage, parent=parent)
    mirror.start_ms, mirror.end_ms = span_ms(record)
    mirror.add_params(record.params)
    add_provenance(mirror, record)
    mirror.attach(path.name, path)
    for artifact in record.artifacts:
        mirror.attach(_inner_name(artifact), _existing(path, artifact))
    mirror.leave_out_large()
    return mirror


def add_provenance(mirror: Mirror, record: StageRecord) -> None:
    """Add a record's metrics, costs, inputs and versions to a run; its parameters are apart."""
    mirror.add_metrics(record.metrics, record.stage)
    costs = {"seconds": record.seconds, "tokens": record.tokens, "cost_usd": record.cost_usd}
    for name, value in costs.items():
        mirror.add_point(f"{record.stage}.{name}", value, mirror.end_ms)
    origin = record.tags | {"host": record.host} | record.versions
    mirror.add_tags(origin, f"{record.stage}.")
    mirror.add_tags(record.inputs, f"{record.stage}.input.")


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values as ``{"a.b": text}`` within MLflow's limits, None left out."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else files.canonical_json(value)
            found[clean_name(prefix + name)] = shorten(text, VALUE_LENGTH_MAX)
    return found


def span_ms(record: StageRecord) -> tuple[int, int]:
    """Return start and end as Unix milliseconds; 1 stands for an unknown start (0 means now)."""
    start_ms = 1
    if record.started:
        start = datetime.fromisoformat(record.started)
        aware = start if start.tzinfo else start.replace(tzinfo=UTC)
        start_ms = round(aware.timestamp() * MS_PER_S)
    return start_ms, start_ms + round(record.seconds * MS_PER_S)


def clean_name(name: str) -> str:
    """Return ``name`` with the characters that MLflow refuses replaced, and not too long."""
    return re.sub(r"[^A-Za-z0-9_\-. :]", "_", name).strip(". ")[:NAME_LENGTH_MAX] or "_"


def shorten(text: str, length: int) -> str:
    """Cut ``text`` to ``length`` characters, ending in the digest of the whole."""
    if len(text) <= length:
        return text
    mark = f" ... sha256:{files.digest_text(text)[:16]}"
    return text[: length - len(mark)] + mark


def finite_or_nan(value: float) -> float:
    """Return NaN for an infinity: MLflow would store 1.8e308, which flattens every chart."""
    return float(value) if math.isfinite(value) else math.nan


def _existing(record: Path, artifact: str) -> Path:
    path = record.parent / artifact
    if not path.exists():
        raise files.SpeedrunError(
            f"{path}, an artifact of {record}, is missing: run `snakemake` to make it again"
        )
    return path


def _inner_name(artifact: str) -> str:
    """Return an artifact name that stays inside the run's folder."""
    return Path(artifact).name if ".." in Path(artifact).parts else Path(artifact).as_posix()
