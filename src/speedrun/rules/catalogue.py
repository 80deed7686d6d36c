"""The rules by id, and what a broken one says: the facts that other parts of the harness share."""

from __future__ import annotations

from dataclasses import dataclass

VIOLATION, REVIEW = "violation", "review"
WHAT_CHARS = 240  # a finding's sentence; hostile code must not fill a report
KEY_CHARS = 160


@dataclass(frozen=True)
class Rule:
    """One rule. ``probed``: withheld probes show a breach anyhow, where a track has them.

    Probes show neither a lucky seed that was fixed nor weights that were chosen by validation loss,
    nor a print that is lowered by less than some 0.1 nats.
    """

    id: str
    reason: str
    severity: str  # VIOLATION | REVIEW: of its findings, unless a finding says otherwise
    probed: bool = False


@dataclass(frozen=True)
class Finding:
    """A place where a solution breaks a rule, or may: new against its start record."""

    rule: str
    severity: str  # VIOLATION | REVIEW
    file: str
    line: int  # 0: the file as a whole, or something that is no longer there
    what: str  # one bounded, printable sentence
    key: str  # its identity without line numbers


RULES = {
    rule.id: rule
    for rule in (
        Rule("unreadable", "code that the checks cannot parse cannot be vouched for", REVIEW),
        Rule("files", "a solution is source text, under the names that are declared", VIOLATION),
        Rule("blob", "weights and tables are learned in the run, not shipped in the code", REVIEW),
        Rule("network", "a run reads its shards and nothing from elsewhere", VIOLATION),
        Rule("paths", "a run reads data/ and its own folder and writes there alone", VIOLATION),
        Rule("timers", "the clock that a score is read from is not replaced", VIOLATION),
        Rule("process", "one process tree does the work, and the harness sees all of it", REVIEW),
        Rule("dynamic", "code that is made up at run time cannot be read beforehand", REVIEW),
        Rule("compile_flags", "no compile flags beyond those of the start record", VIOLATION),
        Rule("packages", "no packages beyond those that the start record imports", VIOLATION),
        Rule("evaluation", "the validation loss is computed as in the start record", REVIEW, True),
        Rule("printed_loss", "the loss that is printed is the one that was computed", REVIEW),
        Rule("output", "the protocol lines are printed as in the start record", REVIEW, True),
        Rule("stream", "the same tokens are read, in the same order", REVIEW),
        Rule("target", "the run's length does not depend on the loss that it reached", REVIEW),
        Rule(
            "training_on_validation",
            "nothing is learned from validation tokens or probes",
            REVIEW,
        ),
        Rule("warmup", "weights learn in the clocked loop alone; a warm-up is undone", REVIEW),
        Rule("causality", "a token is predicted from those before it alone", REVIEW, True),
        Rule("counting", "statistics of the text are learned, not counted", REVIEW),
        Rule("seed", "every random number depends on the run's seed", REVIEW),
        Rule("injection", "the code does not address those who judge it", REVIEW),
    )
}
