"""The choice of a sandbox: from the words of a command to what is started in its place.

It fails closed: a sandbox that does not start is our failure, and only the explicit setting "none"
runs anything without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from speedrun.files import SpeedrunError
from speedrun.runner import apptainer, sandbox, shards, workplace
from speedrun.runner.sandbox import Interpreter
from speedrun.runner.start import Command
from speedrun.runner.workplace import Place
from speedrun.schema import TrainSpec

Contain = Callable[[Sequence[str], Interpreter, Place, TrainSpec, int], Command]


def command(
    words: Sequence[str], python: Interpreter, place: Place, spec: TrainSpec, seed: int
) -> Command:
    """Return the command that runs ``words`` in ``place`` as ``spec.sandbox`` says."""
    if spec.sandbox not in KINDS:
        raise SpeedrunError(f"sandbox {spec.sandbox!r} is unknown: choose {', '.join(KINDS)}")
    return KINDS[spec.sandbox](words, python, place, spec, seed)


def _in_bubblewrap(
    words: Sequence[str], python: Interpreter, place: Place, spec: TrainSpec, seed: int
) -> Command:
    mounts = sandbox.Mounts(place.work, place.data, spec.hidden)
    wrapped = [*sandbox.wrap(sandbox.find_bwrap(), python, mounts, spec), "--", *words]
    variables = sandbox.environment(python, sandbox.work_folder(python), spec, seed)
    return Command(wrapped, place.work, variables, True, data=place.data, shared=place.shared)


def _in_apptainer(
    words: Sequence[str], python: Interpreter, place: Place, spec: TrainSpec, seed: int
) -> Command:
    found = apptainer.find_apptainer(spec.image)
    return apptainer.command(found, words, python, place, spec, seed)


def _uncontained(
    words: Sequence[str], python: Interpreter, place: Place, spec: TrainSpec, seed: int
) -> Command:
    """Return a command that runs with all our rights, on data that is its own where it is small."""
    workplace.link(place.work / shards.FOLDER, place.data)
    own = sandbox.environment(python, str(place.work), spec, seed)
    variables = {"TMPDIR": str(place.scratch), **own}  # a cache in /tmp would outlive the run
    return Command(
        words, place.work, variables, False, data=place.data, shared=place.shared,
        scratch=place.scratch,
    )  # fmt: skip


KINDS: dict[str, Contain] = {
    "bubblewrap": _in_bubblewrap,
    "apptainer": _in_apptainer,
    "none": _uncontained,
}
