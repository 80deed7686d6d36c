"""The probe check: a loss from the script's own logits, for tokens that only we hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from speedrun.files import SpeedrunError
from speedrun.schema import ProbeResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROBE_ANSWER = "probe_logits.npy"
QUOTED_COLUMNS = 200


def check(
    answer: Path, targets: Path, printed: float, offset: float, vocab_size: int | None
) -> ProbeResult:
    """Compare the ``printed`` loss with ours, nats per token, from the logits in ``answer``.

    Raises ValueError when the answer is no matrix of logits, SpeedrunError when the private
    ``targets`` cannot be read.
    """
    import numpy as np

    try:
        wanted = np.load(targets, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SpeedrunError(f"{targets} cannot be read ({error}): run `snakemake`") from error
    return _result(probe_losses(answer, wanted, vocab_size), printed, offset)


def probe_losses(
    answer: Path, targets: NDArray[np.uint16], vocab_size: int | None = None
) -> NDArray[np.float64]:
    """Return nats per context, (contexts,), of float32 logits (contexts, vocab) in ``answer``.

    The softmax is ours, over the whole row, in float64. The file is a candidate's: it is mapped,
    not read, so that a false header costs nothing. Raises ValueError with what is wrong.
    """
    import numpy as np

    try:
        logits = np.lib.format.open_memmap(answer, mode="r")
    except FileNotFoundError:
        raise ValueError("missing, or no regular file of bearable size") from None
    except (
        OSError,
        ValueError,
        TypeError,
        SyntaxError,
        OverflowError,
        EOFError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ValueError(f"not a numpy array ({str(error)[:QUOTED_COLUMNS]})") from None
    columns = vocab_size or max(int(targets.max()) + 1, *logits.shape[1:2], 1)
    if logits.shape != (len(targets), columns) or logits.dtype != np.float32:
        raise ValueError(f"{logits.dtype} {logits.shape}, wanted float32 {(len(targets), columns)}")
    rows = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("holds values that are not finite")
    rows = rows - rows.max(axis=1, keepdims=True)
    losses = np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(len(targets)), targets]
    return np.asarray(losses, dtype=np.float64)


def _result(losses: NDArray[np.float64], printed: float, offset: float) -> ProbeResult:
    loss, contexts = float(losses.mean()), len(losses)
    spread = float(losses.std(ddof=1)) if contexts > 1 else 0.0
    return ProbeResult(
        contexts=contexts,
        loss=loss,
        standard_error=spread / math.sqrt(contexts),
        printed_loss=printed,
        difference=loss - printed - offset,
    )
