"""Training logs in every layout of the upstream repository, made from known values.

Letters as in docs: A is llm.c's; B2 and B3 begin with a line of '='; C3, C2 and C2F begin with the
code, C2F with further files behind the main one. B3 and C3 have a block about the data loader.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SEPARATOR = "=" * 100
SECOND_FILE = "-" * 40


@dataclass(frozen=True)
class Log:
    """What a log holds, and the text that holds it."""

    layout: str
    files: dict[str, str] = field(default_factory=dict)  # the main one first
    steps: int = 200
    val_every: int = 25
    last_step: int | None = None  # of an incomplete run
    last_loss: float = 3.2785  # nats per token
    step_ms: int = 100
    gpus: int = 8
    gpu: str = "NVIDIA H100 80GB HBM3"
    torch: str = "2.7.0.dev20250110+cu126"
    triton: str = ""
    line_end: str = "\n"
    raw_noise: bytes = b""  # a line between header and run, as printed by something else

    @property
    def complete(self) -> bool:
        return self.last_step is None

    @property
    def curve(self) -> list[tuple[int, float, int | None]]:
        """Step, validation loss (nats per token), training time (ms; None in layout A)."""
        end = self.steps if self.last_step is None else self.last_step
        points = [step for step in range(0, end + 1, self.val_every)]
        points += [end] if self.complete and end not in points else []
        return [(step, self._loss(step), self._time_ms(step)) for step in points]

    def _loss(self, step: int) -> float:
        return round(self.last_loss + (10.8258 - self.last_loss) * (1 - step / self.steps) ** 8, 4)

    def _time_ms(self, step: int) -> int | None:
        return None if self.layout == "A" else self.step_ms * max(step - self._untimed, 0)

    @property
    def _untimed(self) -> int:
        return 10 if self.layout in ("B2", "B3", "C3") else 0

    @property
    def cuda(self) -> str:
        """As the log names it: 12.6 of 2.7.0+cu126."""
        digits = self.torch.rsplit("+cu", 1)[1]
        return f"{digits[:-1]}.{digits[-1]}"

    def content(self) -> bytes:
        """Return the log file's bytes."""
        text = _llmc(self) if self.layout == "A" else _separated(self)
        before, _, after = text.partition("@noise@\n")
        noise = self.raw_noise + b"\n" if self.raw_noise else b""
        content = before.encode() + noise + after.encode()
        return content.replace(b"\n", self.line_end.encode())


def _llmc(log: Log) -> str:
    rows = dict((step, loss) for step, loss, _ in log.curve)
    lines = []
    for step in range(0, log.steps + 1):
        lines += [f"s:{step} tel:{rows[step]:.4f}"] if step in rows else []
        lines += [f"s:{step} trl:{log._loss(step):.4f} lr:0.000001 norm:0.21"]
    return "\n".join(lines[:-1]) + "\n"


def _separated(log: Log) -> str:
    lead = f"{SEPARATOR}\n" if log.layout in ("B2", "B3") else ""
    parts = [lead + _code(log), _environment(log)]
    parts += [_loader(log)] if log.layout in ("B3", "C3") else []
    return f"{SEPARATOR}\n".join([*parts, "@noise@\n" + _run(log)])


def _code(log: Log) -> str:
    (_, main), *others = log.files.items()
    text = main
    for name, source in others:
        text += f"\n\n{SECOND_FILE}\n# {name}\n{SECOND_FILE}\n\n{source}"
    return text if log.layout in ("B2", "B3") else text + "\n"


def _environment(log: Log) -> str:
    if log.layout in ("B2", "B3"):
        head = f"Running pytorch {log.torch} compiled for CUDA {log.cuda}\nnvidia-smi:\n"
    else:
        head = "Running Python 3.12.7 (main, Jan 17 2025, 03:57:17) [GCC 13.2.0]\n"
        head += f"Running PyTorch {log.torch} compiled for CUDA {log.cuda}\n"
        head += f"Running Triton version {log.triton}\n" if log.triton else ""
    return head + _nvidia_smi(log) + "\n"


def _nvidia_smi(log: Log) -> str:
    rule = "+" + "-" * 41 + "+" + "-" * 24 + "+" + "-" * 22 + "+\n"
    text = "Fri Jan 17 08:30:35 2025       \n+" + "-" * 89 + "+\n"
    text += "| NVIDIA-SMI 550.127.05             Driver Version: 550.127.05     "
    text += "CUDA Version: 12.4     |\n" + rule
    text += "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | "
    text += "Volatile Uncorr. ECC |\n|" + "=" * 41 + "+" + "=" * 24 + "+" + "=" * 22 + "|\n"
    for index in range(log.gpus):
        text += f"|   {index}  {log.gpu:<24}    On  |   00000000:{index + 16:02X}:00.0 Off |"
        text += "                    0 |\n"
        text += "| N/A   32C    P0            117W /  700W |    3456MiB /  81559MiB |"
        text += "      0%      Default |\n" + rule
    return text


def _loader(log: Log) -> str:
    if log.layout == "B3":
        text = "Training DataLoader: total number of tokens: 1800000000 across 18 files\n"
        return text + "Validation DataLoader: total number of tokens: 100000000 across 1 files\n"
    text = "Training dataloader files: ['data/fineweb10B/fineweb_train_000001.bin']\n"
    return text + "Validation dataloader files: ['data/fineweb10B/fineweb_val_000000.bin']\n"


def _run(log: Log) -> str:
    losses = {step: (loss, time_ms) for step, loss, time_ms in log.curve}
    end = log.steps if log.last_step is None else log.last_step
    lines = []
    for step in range(0, end + 1):
        lines += [_train_line(log, step)] if step else []
        lines += [_val_line(log, step, *losses[step])] if step in losses else []
    return "\n".join([*lines, *_tail(log)]) + "\n"


def _train_line(log: Log, step: int) -> str:
    loss = f"train_loss:{log._loss(step):.4f} " if log.layout in ("B2", "B3") else ""
    # The clock starts again at step 10 in these layouts: training times fall there.
    time_ms = 44000 + step if step <= log._untimed else log._time_ms(step)
    return f"step:{step}/{log.steps} {loss}train_time:{time_ms}ms step_avg:{_step_avg(log, step)}ms"


def _val_line(log: Log, step: int, loss: float, time_ms: int | None) -> str:
    time = f"train_time:{time_ms}ms step_avg:{_step_avg(log, step)}ms"
    return f"step:{step}/{log.steps} val_loss:{loss:.4f} {time}"


def _step_avg(log: Log, step: int) -> str:
    return "nan" if step <= log._untimed else f"{log.step_ms:.2f}"


def _tail(log: Log) -> list[str]:
    if not log.complete or log.layout in ("B2", "B3"):
        return []
    if log.layout == "C3":
        return ["peak memory consumption: 31563 MiB"]
    return ["peak memory allocated: 37653 MiB reserved: 39236 MiB"]
