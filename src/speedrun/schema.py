"""The typed JSON records that stages exchange: frozen dataclasses, standard library only.

Units are in the names: ``*_s`` seconds, ``*_ms`` milliseconds, ``*_mb`` 2**20 bytes,
losses in nats per token. ``None`` always means "not known", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from speedrun.typed import from_dict as from_dict
from speedrun.typed import load as load
from speedrun.typed import save as save
from speedrun.typed import to_dict as to_dict

SCHEMA_VERSION = 1


class Outcome(StrEnum):
    """How a node ended. Infrastructure failures are no outcome: they are exceptions."""

    OK = "ok"
    MISSED_TARGET = "missed_target"
    CANDIDATE_ERROR = "candidate_error"
    OOM = "oom"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    RULE_VIOLATION = "rule_violation"
    NOT_ATTEMPTED = "not_attempted"  # a cumulative chain had ended before: nothing was asked or run


@dataclass(frozen=True)
class TrackSpec:
    """config/track/<track>.yaml: what a speedrun is. Chain order is record order."""

    name: str
    corpus: str
    records: list[str]
    entry: str  # file that is run, e.g. train.py
    target_loss: float  # nats per token on the validation shard
    # "cpu": harness CPU seconds of the process tree up to the last protocol line;
    # "train_time": what the script prints there, checked against the harness's wall clock
    clock: str
    probe_contexts: int = 0  # 0: the track has no probes
    probe_length: int = 0  # tokens a context
    probe_offset: float = 0.0  # mean of (probe loss - printed loss) over the references
    probe_tolerance: float = 0.0  # largest honest |probe loss - printed loss - probe_offset|
    after_clock_s_max: float = 0.0  # CPU seconds allowed after the last protocol line (the probes)
    train_time_ratio_min: float = 0.0  # printed train_time over harness clock, smallest honest
    rules: list[str] = field(default_factory=list)  # ids of speedrun.rules that are in force
    validation_tokens: int = 0  # that a script validates on; 0: the whole shard


@dataclass(frozen=True)
class TrainSpec:
    """Everything that decides how one solution is run; part of the run's key."""

    timeout_s: float
    memory_mb: int
    output_mb: int  # stdout+stderr kept and allowed
    file_mb: int  # largest single file a candidate may write
    processes: int
    threads: int
    sandbox: str  # "bubblewrap" | "apptainer" | "none"
    trainer: str = "real"  # or "simulated"
    device: str = "cpu"
    python: str = ""  # interpreter that runs the candidate; "" is the harness's own
    environment: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)  # paths made empty inside the sandbox
    disk_mb: int = 1024  # all that a candidate may keep in its work folder
    launch: str = "python"  # or "torchrun": one process a GPU
    world_size: int = 1  # GPUs, and processes of a torchrun launch
    train_shards: int = 0  # shown under data/: the first so many; 0 for all
    data_prefix: str = ""  # where under data/ the shards are shown, e.g. "fineweb10B/"
    gpu: str = ""  # the model that the node must have; "" is any
    hub_cache: str = ""  # read-only folder of downloads: huggingface/ and tiktoken/
    image: str = ""  # of sandbox apptainer: a path, or the URI of a pulled image


@dataclass(frozen=True)
class Gpus:
    """The graphics cards of one run, as nvidia-smi named them just before it."""

    names: list[str]
    driver: str
    used_mb: list[int | None]  # a card: memory in use before the run, little if at all
    environment: dict[str, str] = field(default_factory=dict)  # what the node handed through


@dataclass(frozen=True)
class Read:
    """What the harness saw, from outside the sandbox, of opens of one file under data/."""

    file: str  # its name under data/
    opens: int  # at least so many: those between two looks, 0.1 s apart, count once
    first_s: float | None  # wall seconds since the run's start, good to 0.1 s; None: never opened
    last_s: float | None
    shared: bool = False  # not a copy of this run's own: an open may be another program's


@dataclass(frozen=True)
class RunExit:
    """run/exit.json: what the harness saw of one run. ``ran`` False: there was nothing to run."""

    ran: bool
    reason: str  # "exited", "not_run: <why>", or a cap: "timeout", "oom", "disk_flood", ...
    exit_code: int | None = None
    signal: int | None = None
    wall_s: float | None = None
    cpu_s: float | None = None  # CPU of the whole tree at the last protocol line; None without one
    cpu_total_s: float | None = None  # CPU of the whole tree at its end
    peak_rss_mb: float | None = None
    output_bytes: int = 0
    output_truncated: bool = False
    seed: int | None = None
    solution_digest: str = ""
    device: str = ""
    sandbox: str = ""
    trainer: str = "real"
    host: str = ""
    key: str = ""  # digest of everything that decides the run; equal key = same finished run
    torch: str = ""  # version in the run's own interpreter; "absent" if it has none
    gpus: Gpus | None = None  # None for a run without any
    reads: list[Read] | None = None  # one a file under data/; None: it could not be watched
    changed: list[str] = field(default_factory=list)  # own files that the run changed or removed


@dataclass(frozen=True)
class CurvePoint:
    """One protocol line: ``step:N/M val_loss:X train_time:Yms step_avg:Zms`` and its stamps."""

    step: int
    steps: int
    val_loss: float
    train_time_ms: int  # as the script printed it
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class ProbeResult:
    """The harness's own loss from the logits that the script wrote for withheld targets."""

    contexts: int
    loss: float
    standard_error: float
    printed_loss: float
    difference: float  # loss - printed_loss - the track's offset


@dataclass(frozen=True)
class Analysis:
    """analysis.json: one run, understood. ``time_s`` is the track's clock; None unless reached."""

    outcome: Outcome
    reason: str
    val_loss: float | None
    time_s: float | None
    train_time_ms: int | None
    steps: int | None
    curve: list[CurvePoint]
    probes: ProbeResult | None
    device_seconds: float | None  # what the run cost, whatever its outcome
    digest: str  # a few lines for the next generation's prompt
    solution_digest: str = ""
    gpu_memory_mib: int | None = None  # peak allocated, as the script printed it
    gpu_memory_reserved_mib: int | None = None
    gpus: list[str] = field(default_factory=list)  # one name a card; [] on a CPU
    torch: str = ""


@dataclass(frozen=True)
class Call:
    """One line of calls.jsonl. Unknown tokens or cost stay None; tokens are the provider's count.

    A reply that was already in the store has the values of the call that received it.
    """

    turn: int
    prompt_sha256: str
    reply_sha256: str
    tokens_in: int | None
    tokens_out: int | None  # reasoning tokens included
    cost_usd: float | None
    seconds: float | None
    source: str  # "replay", "model", ...
    prompt_drift: float | None = None  # replay only: 1 - similarity to the recorded prompt
    purpose: str = "node"  # or "preflight", "summary", "judge", "review"
    model: str = ""  # as the endpoint names what answered
    finish_reason: str = ""
    tokens_reasoning: int | None = None  # of tokens_out
    tokens_cached: int | None = None  # of tokens_in
    retries: int = 0
    stored: bool = False  # it was in the reply store: nothing was paid this time


@dataclass(frozen=True)
class Proposal:
    """What a coder returns: the whole solution as files, or the outcome why there is none."""

    files: dict[str, str] | None
    outcome: Outcome | None = None  # REFUSED or CANDIDATE_ERROR when files is None
    reason: str = ""
    calls: list[Call] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)  # e.g. the tuner's parameters
    prompt: str = ""
    replies: list[str] = field(default_factory=list)
    memo: str = ""  # for the trial's scratchpad
    reach: list[str] = field(default_factory=list)  # what of the network a coding agent could reach


@dataclass(frozen=True)
class Parent:
    """parent.json: where a node came from. Node 0 is the start record."""

    node: int
    parent: int
    generation: int
    action: str  # "draft" | "improve" | "debug"
    outcome: Outcome | None  # set when the coder gave no code
    reason: str
    solution_digest: str
    lines_added: int
    lines_removed: int
    notes: dict[str, Any] = field(default_factory=dict)
    why: str = ""  # of the choice of the parent, e.g. "best so far", "debug: missed_target"
    memo: str = ""  # what the model wrote into the trial's scratchpad, if the arm has one


@dataclass(frozen=True)
class TaskFacts:
    """tasks/<track>/<task>/public/task.json: all that an agent may know of a task beside its files.

    Holds nothing of the target but its id: neither its idea, its code nor its time.
    """

    track: str
    task: str
    start: str
    target: str
    entry: str
    target_loss: float  # nats per token on the validation shard
    hardware: str  # one sentence, for the prompt
    rules: str  # Markdown: the protocol and what a solution may not do
    margin_percent: float = 0.5  # how far below the target a loss should end, for other seeds' sake


@dataclass(frozen=True)
class StageRecord:
    """<stage>.record.json: the provenance that every stage leaves and publish mirrors."""

    stage: str
    key: str  # stable name of the product, e.g. trials/micro/r01-r02/null-1a2b3c4d/s0/node_1
    params: dict[str, Any]
    metrics: dict[str, float]
    inputs: dict[str, str]  # name -> sha256
    artifacts: list[str]  # paths relative to the record's folder
    tags: dict[str, str] = field(default_factory=dict)
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float = 0.0
    host: str = ""
    started: str = ""  # ISO 8601, UTC
    versions: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
