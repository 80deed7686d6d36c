"""What a training log says, typed. None always means that the log does not say it."""

from __future__ import annotations

from dataclasses import dataclass

from speedrun.trainlog.environment import Environment


@dataclass(frozen=True, slots=True)
class Point:
    """One validation: nats per token, and the script's own clock in milliseconds.

    The scripts of records 4 to 21 start that clock again after ten steps.
    """

    step: int
    steps: int | None
    val_loss: float  # may be nan or infinite
    train_time_ms: int | None


@dataclass(frozen=True)
class TrainLog:
    """One complete log. ``layout`` is one of these; "code" is the script's own source.

    - ``A``: llm.c's, ``s:N tel:X``: no code, header or time;
    - ``B2``: a line of 100 "=", code, the same line, header, the same line, run;
    - ``B3``: as B2, with the data loader's files between two such lines before the run;
    - ``C3``: as B3, ``C2``: as B2, but without the first line; ``C2F``: C2 with further files
      behind the code, each under a line of 40 "-", ``# name.py`` and the line again;
    - ``protocol``: protocol lines alone, as a candidate or the micro track prints them;
    - ``console``: what the stand-ins for records 1 to 3 print.
    """

    layout: str
    files: dict[str, str]  # embedded sources, normalised; the main one is train_gpt.py
    environment: Environment
    curve: list[Point]
    peak_memory_mib: int | None
    reserved_memory_mib: int | None
    complete: bool  # whether the last step was validated

    @property
    def last(self) -> Point:
        """The last validation; a log has at least one."""
        return self.curve[-1]
