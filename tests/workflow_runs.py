"""How the DAG tests run Snakemake: as a user types it, in a folder of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from speedrun import files

REPOSITORY = Path(__file__).resolve().parents[1]
REPORT = "results/{sweep}/report/index.html"
# What holds clocks, hosts or the time of day; everything else must be equal bytes.
VOLATILE = (".record.json", "published.json")


def command(*arguments: str, sweep: str = "nano", overrides: list[str] | None = None) -> list[str]:
    """Return a snakemake command line on the repository's Snakefile."""
    line = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), *arguments]
    config = ["--config", f"sweep={sweep}"]
    if overrides:
        config.append(f"overrides={json.dumps(overrides)}")
    return [*line, *config]


def run(
    folder: Path,
    *arguments: str,
    sweep: str = "nano",
    overrides: list[str] | None = None,
    timeout_s: int = 500,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in ``folder`` to its end; the caller looks at the return code."""
    return subprocess.run(
        command(*arguments, sweep=sweep, overrides=overrides),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def environment() -> dict[str, str]:
    """Return the environment without what would redirect the results."""
    dropped = ("MLFLOW_TRACKING_URI", "SPEEDRUN_WORKFLOW_PID")
    return {key: value for key, value in os.environ.items() if key not in dropped}


def kill_after(folder: Path, seconds: float, *arguments: str, overrides: list[str]) -> bool:
    """Start Snakemake, SIGKILL it alone after ``seconds``; return whether it was still at work."""
    process = subprocess.Popen(
        command(*arguments, overrides=overrides),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        return True


# What files.write_* had not renamed yet when it was killed: no result, and nothing reads it.
UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}")


def stable_files(folder: Path) -> dict[str, str]:
    """Return the digest of every result that may not depend on when or where it was made."""
    results = folder / "results"
    return {
        str(path): files.digest_file(results / path)
        for path in files.tree_files(results)
        if not path.name.endswith(VOLATILE)
        and path.parts[0] not in (".lock", "logs")
        and not UNFINISHED.fullmatch(path.name)
    }


def planned(dry_run: str) -> dict[str, int]:
    """Return the job counts of a dry run's last table."""
    lines = dry_run.split("Job stats:")[-1].splitlines()
    rows = [line.split() for line in lines if len(line.split()) == 2]
    return {name: int(count) for name, count in rows if count.isdigit()}
