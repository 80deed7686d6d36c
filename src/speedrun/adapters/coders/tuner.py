"""tuner: blind hyperparameter search over the numeric constants of the start record.

It reads no hint and no code: what it recovers of a task is what blind tuning recovers. Every node
rebuilds its Optuna study from the trial's earlier nodes, whose parameters stand in parent.json,
so that there is no state to lose.

Each proposal moves only a few constants (``moves``) away from its parent's: among twenty
constants there are always some that break a script when moved, and moving all at once would
almost never give a run. Which ones is drawn at random; where to is TPE's suggestion.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from speedrun.adapters.coders.constants import Constant, Number, find_constants, set_constants
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome, Proposal
from speedrun.stages.generate import Attempt, CoderRequest

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import FloatDistribution, IntDistribution

    Distributions = dict[str, FloatDistribution | IntDistribution]

DIGITS = 4  # significant, of a proposed float


@dataclass(frozen=True)
class Settings:
    """config/coder/tuner.yaml, where each value is explained."""

    moves: int = 2
    factor: float = 2.0
    startup_nodes: int = 4
    miss_penalty: float = 1.0
    exclude: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tuner:
    """Optuna's ask and tell over a trial's nodes."""

    settings: Settings

    def __call__(self, request: CoderRequest) -> Proposal:
        """Return the start record with some constants moved, and all values in the notes."""
        entry = request.facts.entry
        found = find_constants(request.start[entry], self.settings.exclude)
        if not found:
            raise SpeedrunError(f"{request.facts.start}: {entry} has no constant that tuner moves")
        params = self._propose(request, found)
        solution = request.start | {entry: set_constants(request.start[entry], found, params)}
        return Proposal(files=solution, notes={"params": params})

    def _propose(self, request: CoderRequest, found: Mapping[str, Constant]) -> dict[str, Number]:
        spaces = {name: space(constant.value, self.settings) for name, constant in found.items()}
        study = self._study(request, found, spaces)
        suggested = study.ask(dict(spaces)).params
        count = min(self.settings.moves, len(found))
        moved = random.Random(request.seed).sample(sorted(found), count)
        parent = next(a for a in request.history if a.node == request.choice.parent)
        return params_of(parent, found) | {
            name: rounded(suggested[name], spaces[name]) for name in moved
        }

    def _study(
        self, request: CoderRequest, found: Mapping[str, Constant], spaces: Distributions
    ) -> Study:
        import optuna
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            seed=request.seed, multivariate=True, n_startup_trials=self.settings.startup_nodes
        )
        study = optuna.create_study(sampler=sampler)
        for attempt in request.history:
            value = self._objective(attempt, request)
            failed = value is None
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.FAIL if failed else TrialState.COMPLETE,
                    value=value,
                    params=params_of(attempt, found),
                    distributions=dict(spaces),
                )
            )
        return study

    def _objective(self, attempt: Attempt, request: CoderRequest) -> float | None:
        """Return log(seconds) when ok, log(start seconds) + penalty + excess loss on a miss.

        None stands for a failed node, of which nothing is known but that it failed.
        """
        if attempt.outcome is Outcome.OK and attempt.time_s:
            return math.log(attempt.time_s)
        if attempt.outcome is not Outcome.MISSED_TARGET or attempt.val_loss is None:
            return None
        excess = attempt.val_loss - request.facts.target_loss
        if not math.isfinite(excess):
            return None
        start_s = request.history[0].time_s or 1.0
        return math.log(start_s) + self.settings.miss_penalty + max(0.0, excess)


def params_of(attempt: Attempt, found: Mapping[str, Constant]) -> dict[str, Number]:
    """Return the constants' values in an attempt; the root's are the start record's own."""
    if attempt.node == 0:
        return {name: constant.value for name, constant in found.items()}
    params = attempt.notes.get("params", {})
    if set(params) != set(found):
        raise SpeedrunError(
            f"node {attempt.node} holds the parameters of another start record or tuner setting: "
            "move its trial's folder away and run again"
        )
    return {name: params[name] for name in found}


def space(value: Number, settings: Settings) -> FloatDistribution | IntDistribution:
    """Return [value / factor, value * factor] on a log scale; ints stay ints of at least 1."""
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high = value / settings.factor, value * settings.factor
    if isinstance(value, int):
        return IntDistribution(max(1, math.ceil(low)), math.floor(high), log=True)
    return FloatDistribution(low, high, log=True)


def rounded(value: Number, within: FloatDistribution | IntDistribution) -> Number:
    """Return a suggestion as it is written into the script: few digits, inside its range."""
    if isinstance(value, int):
        return value
    return float(min(max(float(f"{value:.{DIGITS}g}"), within.low), within.high))
