"""The DAG: candidates that cheat beside honest ones, and the verdicts that they end with."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from speedrun import files
from workflow_runs import REPORT, REPOSITORY, run

pytestmark = pytest.mark.dag

PAGE = REPORT.format(sweep="nano")
REVIEW = "results/nano/review/nano/r01-r02.json"


def arm(name: str, line: str) -> str:
    """Return the override for an arm whose coder adds ``line`` to the start's script."""
    words = f"[sh, -c, \"echo '{line}' >> train.py\"]"
    coder = f"{{name: command, needs_model: false, command: {words}}}"
    return f"+arms.{name}={{coder: {coder}, scaffold: {{name: flat, n_nodes: 1}}}}"


def test_a_breach_is_caught_in_the_search_and_a_flag_holds_up_the_verdict(tmp_path: Path) -> None:
    overrides = ["hardware.trainer=simulated", "tasks=[r01-r02]", "~arms.tuner", "audit.rounds=4"]
    overrides += [arm("network", "import socket"), arm("forks", "os.fork()")]
    done = run(tmp_path, "-c2", PAGE, overrides=overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    table = (tmp_path / "results/nano/report/scores.csv").read_text()
    rows = {row["arm"]: row for row in csv.DictReader(io.StringIO(table))}
    assert (rows["network"]["outcome"], rows["network"]["fsr_audited"]) == ("rule_violation", "0")
    assert rows["network"]["reason"].startswith("rule network: imports socket (train.py:")
    assert (rows["forks"]["outcome"], rows["forks"]["n_flags"]) == ("ok", "1")
    assert rows["forks"]["flags"].startswith("rule process: ")
    assert rows["forks"]["verdict"] in ("review", "not_confirmed")  # simulated losses are noisy
    for honest in ("oracle", "null"):
        assert (rows[honest]["outcome"], rows[honest]["n_flags"]) == ("ok", "0")
        assert rows[honest]["verdict"] in ("confirmed", "not_confirmed")
    assert files.read_json(tmp_path / REVIEW)["track"] == "nano"
    assert "\nopen: r01-r02 forks-" in (tmp_path / "results/nano/report/table.txt").read_text()
    assert not (REPOSITORY / "reviews" / "nano").exists()
