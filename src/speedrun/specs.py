"""The slice of configuration that each rule reads, as plain values for its command line.

A rule that is given only what it reads is rerun only when that changes.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

TRACK_KEYS = (
    "name",
    "records",
    "entry",
    "target_loss",
    "clock",
    "probe_contexts",
    "probe_length",
    "probe_offset",
    "probe_tolerance",
    "after_clock_s_max",
    "train_time_ratio_min",
)
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
CORPUS_KEYS = ("name", "distributions", "val_share", "holdout_share")


def corpus(config: Config) -> Config:
    """Return stages.corpus.CorpusSpec as JSON values."""
    return {key: config["corpus"][key] for key in CORPUS_KEYS}


def tokenize(config: Config) -> Config:
    """Return stages.tokenize.TokenizeSpec as JSON values."""
    source, track = config["corpus"], config["track"]
    probes = {key: track[key] for key in ("probe_sets", "probe_contexts", "probe_length")}
    return {**{key: source[key] for key in ("vocab_size", "val_tokens", "seed")}, **probes}


def track(config: Config) -> Config:
    """Return schema.TrackSpec as JSON values."""
    values = {key: config["track"][key] for key in TRACK_KEYS}
    return {**values, "corpus": config["corpus"]["name"]}


def train(config: Config) -> Config:
    """Return schema.TrainSpec as JSON values; ``hidden`` is filled in from the corpus manifest."""
    hardware = config["hardware"]
    environment = dict(hardware["environment"])
    if hardware["trainer"] == "simulated":
        environment["SIMULATED_TARGET"] = str(config["track"]["target_loss"])
    return {**{key: hardware[key] for key in TRAIN_KEYS}, "environment": environment}


def task(config: Config, name: str) -> Config:
    """Return schema.TaskFacts as JSON values, its rules left to the track's rules.md."""
    start, target = name.split("-")
    return {
        "track": config["track"]["name"],
        "task": name,
        "start": start,
        "target": target,
        "entry": config["track"]["entry"],
        "target_loss": config["track"]["target_loss"],
        "hardware": f"{config['hardware']['description']} A run may take "
        f"{config['hardware']['timeout_s']} s and {config['hardware']['memory_mb']} MiB.",
    }


def hint_levels(config: Config) -> list[str]:
    """Return the hint levels that the sweep's arms need."""
    return sorted({level for arm in config["arms"].values() for level in arm["hints"]})


def gpu(config: Config) -> Config:
    """Return the extra Snakemake resources of a training job: a GPU where the profile has one."""
    return {} if config["hardware"]["device"] == "cpu" else {"gres": "gpu:1"}
