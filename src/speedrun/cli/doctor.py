"""The verb doctor: what this machine can do, and what to install. Standard library only.

It reads and asks; it changes nothing, and no line of it holds a key's value.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speedrun import schema
from speedrun.cli import options
from speedrun.cli.options import path
from speedrun.files import SpeedrunError
from speedrun.runner import gpu, machine, sandbox
from speedrun.runner.machine import LIMITED, MISSING, OK, Finding
from speedrun.schema import TrainSpec

PACKAGES = ("snakemake", "hydra", "omegaconf", "yaml", "numpy", "mlflow")
TORCH_S = 120.0  # its first import from a network disk
TORCH = (
    "import torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0; "
    "print(f'{torch.__version__}, {n} GPUs')"
)
# A line `key: value` of a profile, the value a number or words.
PLAIN = re.compile(r"^(\w+):[ \t]*(\w[^#\n]*?)[ \t]*(?:#.*)?$", re.MULTILINE)
KEYS = {field.name for field in dataclasses.fields(TrainSpec)}


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    doctor = options.verb(
        verbs, "doctor", run_doctor, "say what this machine can do and what to install"
    )
    doctor.add_argument("--profile", default="cpu", help="of config/hardware; default: cpu")
    doctor.add_argument("--config", type=path, default=path("config"), help="default: config")


def run_doctor(given: argparse.Namespace) -> None:
    """Print one line a subject; SpeedrunError, and so exit code 1, if the main job cannot run."""
    spec = _spec(given.config, given.profile)
    found = [*machine.findings(spec), *_project(spec, given.config)]
    options.show("\n".join(_line(finding) for finding in found))
    lacking = [one.name for one in found if one.needed and one.state == MISSING]
    if lacking:
        raise SpeedrunError(
            f"with profile {given.profile} nothing can be run here before this is mended: "
            f"{', '.join(lacking)}"
        )


def _line(finding: Finding) -> str:
    said = f"{finding.state:8} {finding.name:11} {finding.said} ({finding.why})"
    done = finding.state == OK or not finding.command
    return said if done else f"{said}; run: {finding.command}"


def _spec(config: Path, profile: str) -> TrainSpec:
    """Return what a run of the profile needs."""
    if not config.is_dir():
        raise SpeedrunError(f"no folder {config}: go to the repository, or give --config")
    try:
        from speedrun.adapters import hydra_config
    except ImportError:
        values = _plain(config / "hardware" / f"{profile}.yaml")
    else:
        values = hydra_config.option(config, "hardware", profile)
    known = {key: value for key, value in values.items() if key in KEYS}
    return schema.from_dict(TrainSpec, known)


def _plain(file: Path) -> dict[str, Any]:
    """Return a profile's numbers and words: all that a Python without packages can read."""
    if not file.is_file():
        raise SpeedrunError(f"{file} is missing: name a profile of config/hardware, or --config")
    found = PLAIN.findall(file.read_text(encoding="utf-8"))
    return {key: int(text) if text.isdecimal() else text for key, text in found}


def _project(spec: TrainSpec, config: Path) -> list[Finding]:
    tools = [
        _tool("git", ["git", "--version"], "fetches upstream's records", "apt-get install git"),
        _tool("uv", ["uv", "--version"], "builds environments of eras and agents", "make setup"),
        _tool("slurm", ["sinfo", "--version"], "runs sweeps on a cluster: docs/slurm.md",
              "nothing, unless this should be a cluster's log-in node"),
    ]  # fmt: skip
    places = [
        _place("shards", "results/shards", "*/meta.json", "what is trained on", "snakemake"),
        _place("upstream", "store/upstream", "*.git/HEAD", "the records of the real speedrun",
               "speedrun records --track nanogpt --fetch"),
    ]  # fmt: skip
    return [_packages(), _torch(spec), _gpus(spec), *tools, *places, _keys(config)]


def _packages() -> Finding:
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    said = f"{', '.join(absent)} cannot be imported" if absent else "those of requirements.txt"
    why = "the workflow needs them; `speedrun train` does not"
    return Finding("packages", MISSING if absent else OK, said, why, "make setup", needed=True)


def _torch(spec: TrainSpec) -> Finding:
    why = "the records are PyTorch scripts"
    try:
        python = str(sandbox.interpreter(spec.python).executable)
    except SpeedrunError as error:
        return Finding("torch", MISSING, str(error), why, "set hardware.python", needed=True)
    good, said = machine.ask([python, "-c", TORCH], TORCH_S)
    command = "make setup (an era's environment is built on first use)"
    return Finding("torch", OK if good else MISSING, said, why, command, needed=True)


def _gpus(spec: TrainSpec) -> Finding:
    if not gpu.used(spec):
        return Finding("GPUs", OK, "this profile needs none", "nanogpt needs a card")
    why = f"the profile has {spec.world_size} x {spec.gpu or 'any card'}"
    elsewhere = f"the same on a GPU node (Slurm: srun --gpus={spec.world_size} speedrun doctor ...)"
    try:
        found = gpu.cards(spec)
    except SpeedrunError as error:
        command = f"{elsewhere}, or choose --profile cpu"
        return Finding("GPUs", MISSING, str(error), why, command, needed=True)
    said = f"{len(found)} x {found[0].name}, driver {found[0].driver}"
    return Finding("GPUs", OK, said, why, needed=True)


def _tool(name: str, command: list[str], why: str, install: str) -> Finding:
    beside = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    found = shutil.which(command[0], path=beside)
    if found is None:
        return Finding(name, MISSING, f"no {command[0]} on PATH", why, install)
    good, said = machine.ask([found, *command[1:]])
    return Finding(name, OK if good else LIMITED, said, why, install)


def _place(name: str, folder: str, pattern: str, why: str, command: str) -> Finding:
    found = sorted(path.parent.name for path in Path(folder).glob(pattern))
    said = f"{', '.join(found)} in {folder}" if found else f"none in {folder}"
    return Finding(name, OK if found else MISSING, said, why, command)


def _keys(config: Path, environment: Mapping[str, str] = os.environ) -> Finding:
    """Name the variables that hold keys of models: set or not is all that is looked at."""
    named = re.compile(r"^api_key_env:\s*([A-Z][A-Z0-9_]*)\s*(?:#.*)?$", re.MULTILINE)
    files = sorted((config / "model").glob("*.yaml"))
    names = sorted({name for file in files for name in named.findall(file.read_text("utf-8"))})
    have = [name for name in names if environment.get(name)]
    said = f"set: {', '.join(have) or 'none'}; known: {', '.join(names) or 'none'}"
    why = "models are asked with them; quickstart needs none"
    return Finding("model keys", OK if have else LIMITED, said, why, "export NAME=key")
