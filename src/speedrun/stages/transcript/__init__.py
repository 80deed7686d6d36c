"""transcript: one trial as a person would read it, finished or not, from its folder alone.

It only reads. What candidates and models wrote is shown without control characters, so that it
cannot move the cursor or recolour the terminal of whoever reads it.
"""

from __future__ import annotations

from pathlib import Path

from speedrun.stages.transcript.page import render
from speedrun.stages.transcript.reading import read_trial

__all__ = ["transcript"]


def transcript(
    folder: Path, number: int | None = None, full: bool = False, start: Path | None = None
) -> str:
    """Return the transcript of the trial in ``folder``, or of its node ``number`` alone.

    ``full`` shows prompts, replies and changes whole. ``start`` is the folder of the start record's
    files, by default where a workflow keeps it. Errors: SpeedrunError where there is no such trial
    or node.
    """
    return render(read_trial(folder, start), number, full)
