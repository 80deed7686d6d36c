"""The slice of configuration that each rule reads, as plain values for its command line.

A rule that is given only what it reads is rerun only when that changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What the runs of one task share and those of another may not."""

    era: str = ""  # of the task's target; "" where a track has none
    train_shards: int = 0  # shown to a run: the first so many; 0 for all
    downloads: bool = True  # shown the folder of downloads, where the hardware names one


EVERYTHING = Setting()

TRACK_KEYS = (
    "name", "records", "entry", "target_loss", "clock", "probe_contexts", "probe_length",
    "probe_offset", "probe_tolerance", "after_clock_s_max", "train_time_ratio_min", "rules",
    "validation_tokens",
)  # fmt: skip
OWN_TASK_KEYS = ("margin_percent",)  # of a track that has its own: TaskFacts knows the usual ones
TRAIN_KEYS = (
    "timeout_s",
    "memory_mb",
    "output_mb",
    "file_mb",
    "disk_mb",
    "processes",
    "threads",
    "sandbox",
    "trainer",
    "device",
    "python",
)
GPU_KEYS = ("launch", "world_size", "gpu", "hub_cache")
# Of config/model: what decides a model's replies, and so is part of an arm and of its digest.
MODEL_KEYS = (
    "name",
    "kind",
    "model",
    "temperature",
    "top_p",
    "max_tokens",
    "reasoning_effort",
    "extra_body",
)
# The rest says how to reach it and what it costs: a change makes no finished node again.
OPERATIONAL_KEYS = (
    "base_url",
    "api_key_env",
    "provider",
    "timeout_s",
    "max_retries",
    "backoff_s",
    "retry_after_max_s",
    "concurrency",
    "prices",
    "context_tokens",
    "max_output_tokens",
    "max_tokens_field",
    "release_date",
    "cutoff_date",
    "note",
)
BUDGET_SCOPES, BUDGET_UNITS = ("trial", "sweep"), ("usd", "tokens", "device_hours")
ENVIRONMENTS = "results/envs"
CORPUS_KEYS = {
    "distributions": ("name", "distributions", "val_share", "holdout_share"),
    "hub": ("kind", "name", "repository", "revision", "endpoint", "store", "offline", "sha256"),
    "text": ("kind", "name", "paths", "column"),
}
TOKENIZE_KEYS = {
    "distributions": ("vocab_size", "val_tokens", "seed"),
    "hub": ("kind", "seed"),
    "text": (
        "kind",
        "column",
        "separator",
        "invalid_utf8",
        "val_share",
        "holdout_share",
        "val_tokens",
        "shard_tokens",
        "seed",
    ),
}
# Loaders skip the end of a shard, and later ones the rest of long documents: they read more than
# they train on.
SHARD_SLACK = 1.25
HOLDOUT_SHARD = "fineweb_holdout_000000.bin"


def corpus(config: Config) -> Config:
    """Return the specification of the corpus's kind (stages.corpus) as JSON values."""
    source = config["corpus"]
    values = {key: source[key] for key in CORPUS_KEYS[corpus_kind(config)]}
    return {**values, "shards": _hub_shards(config)} if corpus_kind(config) == "hub" else values


def tokenize(config: Config) -> Config:
    """Return the specification of the corpus's kind (stages.tokenize) as JSON values."""
    source, track = config["corpus"], config["track"]
    values = {key: source[key] for key in TOKENIZE_KEYS[corpus_kind(config)]}
    probes = {key: track.get(key, 0) for key in ("probe_sets", "probe_contexts", "probe_length")}
    shown = {"train_shards": train_shards(config)} if corpus_kind(config) == "hub" else {}
    return {**values, **shown, **probes}


def corpus_kind(config: Config) -> str:
    """Return the kind of the corpus: distributions, hub or text."""
    return str(config["corpus"]["kind"])


def shard_names(config: Config, shared: Setting = EVERYTHING) -> list[str]:
    """Return the names of the public shards, or of those that a setting's runs are shown.

    The number of a text corpus's training shards is not known before it is made: meta.json names
    them all.
    """
    if corpus_kind(config) == "distributions":
        return ["train_000000.bin", "val_000000.bin"]
    count = shared.train_shards or (train_shards(config) if corpus_kind(config) == "hub" else 1)
    return ["fineweb_val_000000.bin", *(_train_shard(index) for index in range(1, count + 1))]


def train_shards(config: Config) -> int:
    """Return how many training shards of a hub's corpus the chosen tasks can read."""
    rows = [row for row in config["track"].get("tasks", []) if row["task"] in config["tasks"]]
    every = int(config["corpus"]["available_shards"])
    return max((shards_of(config, row) for row in rows), default=min(_given(config), every))


def shards_of(config: Config, row: Config) -> int:
    """Return how many training shards of a hub's corpus the runs of one task are shown.

    ``corpus.train_shards`` says it outright; 0 derives it from what the task's records train on,
    and an unknown record may need them all. With fewer shards the early loaders begin again from
    the first without a word, which would be training on other data. The number is rounded up to
    one of ``corpus.shard_steps``, so that neighbouring tasks share their references.
    """
    source, tokens = config["corpus"], row.get("train_tokens")
    available = int(source["available_shards"])
    if source["train_shards"] or not tokens:
        return min(_given(config), available)
    needed: int = math.ceil(SHARD_SLACK * tokens / int(source["shard_tokens"])) + 1
    steps = [int(step) for step in source["shard_steps"] if needed <= step <= available]
    return min(steps, default=available)


def _given(config: Config) -> int:
    """Return the number of shards that the configuration asks for, or else all there are."""
    return int(config["corpus"]["train_shards"] or config["corpus"]["available_shards"])


def setting(config: Config, row: Config) -> Setting:
    """Return what the runs of a task share, from its row of the task table."""
    shown = shards_of(config, row) if corpus_kind(config) == "hub" else 0
    return Setting(row.get("era", ""), shown, row.get("downloads", True))


def _hub_shards(config: Config) -> dict[str, str]:
    """Return our file name of each shard with the hub's."""
    source = config["corpus"]
    trained = [_train_shard(index) for index in range(1, train_shards(config) + 1)]
    public = {name: name for name in ("fineweb_val_000000.bin", *trained)}
    return {**public, HOLDOUT_SHARD: source["holdout"]}


def _train_shard(index: int) -> str:
    return f"fineweb_train_{index:06d}.bin"


def track(config: Config) -> Config:
    """Return schema.TrackSpec as JSON values; a track without probes names none of their keys."""
    values = {key: config["track"][key] for key in TRACK_KEYS if key in config["track"]}
    return {**values, "corpus": config["corpus"]["name"]}


def train(config: Config, shared: Setting = EVERYTHING) -> Config:
    """Return schema.TrainSpec as JSON values; ``hidden`` is filled in from the corpus manifest.

    Start, target and candidates of a task share one environment and one set of data.
    Settings that a CPU track does not name are left out, so that its runs keep their keys.
    """
    hardware = config["hardware"]
    environment = dict(hardware["environment"])
    if hardware["trainer"] == "simulated":
        environment["SIMULATED_TARGET"] = str(config["track"]["target_loss"])
    values = {**{key: hardware[key] for key in TRAIN_KEYS}, "environment": environment}
    values["python"] = python(hardware, shared.era)
    values |= {key: hardware[key] for key in GPU_KEYS if key in hardware}
    if hardware.get("image"):
        values["image"] = hardware["image"]
    if "hub_cache" in values and not shared.downloads:
        values["hub_cache"] = ""
    if config["track"].get("data_prefix"):
        values["data_prefix"] = config["track"]["data_prefix"]
    if shared.train_shards:
        values["train_shards"] = shared.train_shards
    return values


def python(hardware: Config, era: str) -> str:
    """Return the interpreter of a run: the configured one, or else the era's environment."""
    built = built_environment(hardware, era)
    return f"{built}/bin/python" if built else str(hardware["python"])


def built_environment(hardware: Config, era: str) -> str:
    """Return the folder of the environment that an era's runs need built, "" if none."""
    wanted = hardware.get("environments", "none") == "build" and hardware["trainer"] == "real"
    return f"{ENVIRONMENTS}/{era}" if wanted and era and not hardware["python"] else ""


def task(config: Config, name: str) -> Config:
    """Return schema.TaskFacts as JSON values, its rules left to the track's rules.md."""
    start, target = name.split("-")
    own = {key: config["track"][key] for key in OWN_TASK_KEYS if key in config["track"]}
    return {
        "track": config["track"]["name"],
        "task": name,
        "start": start,
        "target": target,
        "entry": config["track"]["entry"],
        "target_loss": config["track"]["target_loss"],
        "hardware": _hardware(config),
        **own,
    }


def _hardware(config: Config) -> str:
    """Return what the prompt says of the machine, the command and the caps."""
    hardware, entry = config["hardware"], config["track"]["entry"]
    said = [hardware["description"]]
    if hardware.get("launch", "python") == "torchrun":
        said.append(
            f"The command is `torchrun --standalone --nproc_per_node={hardware['world_size']} "
            f"{entry}`, followed by the lines of arguments.txt where there is one."
        )
    said.append(f"A run may take {hardware['timeout_s']} s and {hardware['memory_mb']} MiB.")
    return " ".join(said)


def hint_levels(config: Config) -> list[str]:
    """Return the hint levels that the sweep's arms need."""
    return sorted({level for arm in config["arms"].values() for level in arm["hints"]})


def deciding(model: Config) -> Config:
    """Return what of a config/model file decides its replies; what is not set is left out."""
    return {key: model[key] for key in MODEL_KEYS if model.get(key) not in (None, {})}


def operational(model: Config) -> Config:
    """Return what of a config/model file decides no reply: where it answers, what it costs."""
    return {key: value for key, value in model.items() if key not in MODEL_KEYS}


def operation(config: Config) -> Config:
    """Return what a paid job must know and no result depends on: caps, endpoints, prices.

    ``sweep`` is whose budget is used up: that of the whole sweep, where a cell of it runs. A cap of
    null is none.
    """
    return {
        "sweep": config["whole"],
        "budget": config["budget"],
        "models": config["models"],
        "device_hours_a_run": device_hours_cap(config),
    }


def device_hours_cap(config: Config) -> float:
    """Return the most that one run may cost: hours on each GPU, or CPU hours of one core."""
    hardware = config["hardware"]
    return float(hardware["timeout_s"]) * int(hardware.get("world_size", 1)) / 3600


def gpu(config: Config) -> Config:
    """Return the extra Snakemake resources of a training job: the profile's GPUs, if any."""
    hardware = config["hardware"]
    return {} if hardware["device"] == "cpu" else {"gres": f"gpu:{hardware.get('world_size', 1)}"}
