"""preflight: is a draft worth its full run? Parsed first, then run for a short time.

The run is that of train, in the same sandbox and with the same inputs, only its cap is short. A
draft passes if it is still running then, if it ended cleanly, or if it printed one step at least;
anything else is the finding that its coder is told once. The run is paid for: what it cost stands
in preflight.json. Standard library only, as for train: it runs on the nodes that train.
"""

from __future__ import annotations

import ast
import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from speedrun import files, schema
from speedrun.runner import log, protocol
from speedrun.schema import Parent, RunExit

RESULT = "preflight.json"
COLUMNS = 300  # of a line that does not parse, shown to the coder
Explain = Callable[[Path], list[str]]  # from a run folder to what ended the run


@dataclass(frozen=True)
class Checked:
    """preflight.json: whether a draft may go on to its full run as it is."""

    passed: bool
    reason: str  # in a few words, for people: "still running after 60 s", "exit code 1", ...
    finding: str = ""  # for the coder: the reason and the end of the output
    device_seconds: float | None = 0.0  # of one device; None where it is not known
    devices: int = 1


def preflight(
    draft: Path, run: Callable[[Path], RunExit], explain: Explain, parses_alike: bool
) -> Checked:
    """Check the node folder ``draft`` and write its preflight.json.

    ``run`` runs draft/solution into the run folder that it is given, ``explain`` returns bounded,
    harmless lines on what ended such a run. ``parses_alike``: the run's Python is the harness's
    own, so that a file which does not parse here need not be tried.
    """
    checked = _unrunnable(draft)
    broken = _unparsed(draft / "solution") if parses_alike else ""
    if checked is None and broken:
        checked = Checked(False, "does not parse", broken)
    if checked is None:
        ended = run(draft / "run")
        stepped = any(_is_step(line.line) for line in log.read(draft / "run" / "log.jsonl"))
        checked = judge(ended, stepped)
        if not checked.passed:
            told = [checked.reason, *explain(draft / "run")]
            checked = dataclasses.replace(checked, finding="\n".join(told))
    schema.save(draft / RESULT, checked)
    return checked


def _unrunnable(draft: Path) -> Checked | None:
    """A draft without code has its outcome already: nothing is to be checked or mended."""
    outcome = schema.load(Parent, draft / "parent.json").outcome
    return None if outcome is None else Checked(True, f"nothing to check: {outcome}")


def _unparsed(solution: Path) -> str:
    """Return what is wrong with the first file that does not parse, "" if all do."""
    for path in files.tree_files(solution):
        if path.suffix == ".py" and (fault := _fault(solution / path)):
            return f"{path} does not parse: {fault}"
    return ""


def _fault(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the candidate's code, about its own strings
        try:
            ast.parse(path.read_bytes())
        except SyntaxError as error:
            return _fit(f"line {error.lineno}: {error.msg}: {(error.text or '').strip()}")
        except (ValueError, RecursionError, MemoryError) as error:
            return _fit(f"{type(error).__name__}: {error}")
    return ""


def judge(ended: RunExit, stepped: bool) -> Checked:
    """Return what a short run shows: its end, and whether it printed a step."""
    spent = device_seconds(ended), len(ended.gpus.names) if ended.gpus else 1
    if stepped:
        return Checked(True, "printed a step", "", *spent)
    if ended.reason == "timeout":
        return Checked(True, "still running at the end of its time", "", *spent)
    if ended.ran and ended.reason == "exited" and ended.exit_code == 0:
        return Checked(True, "ended cleanly", "", *spent)
    return Checked(False, _reason(ended), _reason(ended), *spent)


def _is_step(line: str) -> bool:
    return protocol.parse(line) is not None or protocol.parse_step(line) is not None


def _reason(ended: RunExit) -> str:
    if ended.reason != "exited":
        return ended.reason
    if ended.signal is not None:
        return f"killed by signal {ended.signal}"
    return f"exit code {ended.exit_code}"


def device_seconds(ended: RunExit) -> float | None:
    """Return what a run cost: CPU seconds on a CPU, else the time that it held the device."""
    if not ended.ran:
        return 0.0
    return ended.cpu_total_s if ended.device == "cpu" else ended.wall_s


def _fit(line: str) -> str:
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return clean[:COLUMNS]


def load(draft: Path) -> Checked:
    """Read a draft's preflight.json."""
    return schema.load(Checked, draft / RESULT)
