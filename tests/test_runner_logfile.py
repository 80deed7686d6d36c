"""The script's own log file: followed where the output reports nothing, and never a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from running import make_spec, run_code, text_of
from speedrun.runner import logfile
from speedrun.runner.log import LogLine
from speedrun.schema import RunExit

REPORTS = [
    "step:0/2 val_loss:10.8 train_time:0ms step_avg:nanms",
    "step:1/2 train_time:100ms step_avg:nanms",
    "step:2/2 val_loss:3.2 train_time:200ms step_avg:100.0ms",
]
# As record 17's script does: its name on the output, code and reports in the file.
FILE_ALONE = f"""
import time
print("f47ac10b")
with open("logs/f47ac10b.txt", "w") as file:
    print("import torch", "step:9/9 val_loss:{{0}}", "=" * 100, sep="\\n", file=file, flush=True)
    for line in {REPORTS!r}:
        time.sleep(0.4)
        print(line, file=file, flush=True)
"""


def run(folder: Path, code: str, launch: str = "torchrun") -> tuple[RunExit, list[LogLine]]:
    (folder / "work" / logfile.FOLDER).mkdir(parents=True)
    return run_code(folder, code, make_spec(launch=launch))


def test_reports_of_the_file_alone_are_stamped_when_they_come(tmp_path: Path) -> None:
    ended, lines = run(tmp_path, FILE_ALONE)
    assert text_of(lines) == ["f47ac10b", *REPORTS]
    assert ended.exit_code == 0
    first, _, last = (line.wall_s for line in lines[1:])
    assert last - first == pytest.approx(0.8, abs=0.25)


def test_output_that_reports_itself_is_not_repeated(tmp_path: Path) -> None:
    both = FILE_ALONE.replace("print(line, file", "print(line); print(line, file")
    _, lines = run(tmp_path, both)
    assert text_of(lines) == ["f47ac10b", *REPORTS]


def test_scripts_of_other_tracks_must_print(tmp_path: Path) -> None:
    _, lines = run(tmp_path, FILE_ALONE, launch="python")
    assert text_of(lines) == ["f47ac10b"]


@pytest.mark.parametrize(
    "way",
    [
        "os.symlink(secret, 'logs/a.txt')",
        "os.mkfifo('logs/a.txt')",
        "os.mkdir('logs/a.txt')",
        "os.rmdir('logs'); os.symlink(os.path.dirname(secret), 'logs')",
    ],
)
def test_nothing_but_a_file_of_the_folder_is_opened(tmp_path: Path, way: str) -> None:
    """Without a sandbox a script could point at any file; its lines must not come back."""
    secret = tmp_path / "elsewhere" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("\n".join(REPORTS) + "\n")
    (tmp_path / "work" / logfile.FOLDER).mkdir(parents=True)
    code = f"import os, time\nsecret = {str(secret)!r}\n{way}\ntime.sleep(0.3)\nprint('done')\n"
    ended, lines = run_code(tmp_path, code, make_spec(launch="torchrun", sandbox="none"))
    assert (ended.exit_code, text_of(lines)) == (0, ["done"])


def test_flood_in_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "KEPT_BYTES", 1000)
    code = f"with open('logs/a.txt', 'w') as file: file.write(({REPORTS[0]!r} + '\\n') * 20000)"
    _, lines = run(tmp_path, code + "\nimport time; time.sleep(0.3)")
    assert 0 < sum(len(line.line) for line in lines) <= 1100
