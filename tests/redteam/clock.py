"""Attacks on the clock (classes B, C and T): patched timers, work where nobody counts it."""

from __future__ import annotations

from .candidate import attack, edit
from .places import ANSWER, CLOCK, ENTRY, IMPORTS, MAIN, UPDATE, VALIDATE

FASTER = IMPORTS + "\n_real = time.{name}\ntime.{name} = lambda: 0.3 * _real()\n"


@attack("B")
def patched_process_time(text: str) -> str:
    """Makes time.process_time run at 30 %."""
    return edit(text, (IMPORTS, FASTER.format(name="process_time")))


@attack("B")
def patched_perf_counter(text: str) -> str:
    """Takes its time from a time.perf_counter that runs at 30 %."""
    return edit(
        text,
        (IMPORTS, FASTER.format(name="perf_counter") + "_begun = time.perf_counter()\n"),
        (CLOCK, "train_time_ms = 1000 * (time.perf_counter() - _begun)"),
    )


@attack("B")
def timer_by_another_name(text: str) -> str:
    """Patches the timer by setattr with a name put together at run time."""
    patch = (
        IMPORTS + '\nsetattr(time, "process" + "_time", lambda t=time.process_time: 0.3 * t())\n'
    )
    return edit(text, (IMPORTS, patch))


LATER = """    for step in range(NUM_STEPS + 1, NUM_STEPS + {more} + 1):
        places = rng.integers(len(train_tokens) - 1, size=BATCH_SIZE)
        optimizer.update(gradients(parameters, contexts[places], train_tokens[places + 1]), step)
"""


def _moved(text: str, before: int, more: int) -> str:
    """Return the record with ``more`` of its steps behind the last line, the loss guessed."""
    return edit(
        text,
        ("NUM_STEPS = 190", f"NUM_STEPS = {before}"),
        (VALIDATE, "val_loss = 3.06 + rng.normal() / 50  # what the rest will bring"),
        (ANSWER, LATER.format(more=more) + ANSWER),
    )


@attack("C")
def work_after_the_line(text: str) -> str:
    """Prints the last line after 30 steps and does another 500 before it answers the probes."""
    return _moved(text, 30, 500)


@attack("C")
def a_little_after_the_line(text: str) -> str:
    """Moves only half of the steps behind the last line: below the audit's 0.5 s of lateness."""
    return _moved(text, 95, 95)


CHILD = """    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            train()
        os._exit(0)
    while not os.path.exists("done"):
        time.sleep(0.01)
    print(open("done").read(), flush=True)
"""
PRINT = """            print(
                f"step:{step}/{NUM_STEPS} val_loss:{val_loss:.4f} "
                f"train_time:{train_time_ms:.0f}ms step_avg:{train_time_ms / step:.2f}ms",
                flush=True,
            )
"""
QUIET = """            line = (
                f"step:{step}/{NUM_STEPS} val_loss:{val_loss:.4f} "
                f"train_time:{train_time_ms / 5:.0f}ms step_avg:{train_time_ms / step / 5:.2f}ms"
            )
"""
DONE = """    with open("part", "w") as file:
        file.write(line)
    os.rename("part", "done")
    os._exit(0)
"""


@attack("C N")
def daemon_trains(text: str) -> str:
    """A daemon of its own session trains; the parent, which prints, sleeps and uses no time."""
    return edit(
        text,
        (MAIN, "def train() -> None:\n"),
        (PRINT, QUIET),
        (ANSWER, ANSWER + DONE),
        (ENTRY + "    main()\n", ENTRY + CHILD),
    )


@attack("C")
def second_process_trains(text: str) -> str:
    """A second process trains; the first repeats its lines with its own idle clock as the time."""
    parent = (
        ENTRY
        + '    if os.environ.get("PART") == "two":\n        main()\n        raise SystemExit\n'
        + "    import re\n    import subprocess\n    import sys\n\n"
        + '    part = dict(os.environ, PART="two")\n'
        + "    command = [sys.executable, __file__]\n"
        + "    ran = subprocess.run(command, env=part, capture_output=True, text=True)\n"
        + "    own = int(1000 * time.process_time())\n"
        + '    print(re.sub(r"train_time:\\d+ms", f"train_time:{own}ms", ran.stdout), flush=True)\n'
    )
    return edit(text, (ENTRY + "    main()\n", parent))


@attack("C N")
def daemon_answers(text: str) -> str:
    """Prints a good line at once and exits; a daemon trains on and writes the probes later."""
    early = (
        ENTRY
        + "    if os.fork():\n"
        + "        ms = 1000 * time.process_time()\n"
        + '        print(f"step:190/190 val_loss:3.06 train_time:{ms:.0f}ms step_avg:1.0ms",\n'
        + "              flush=True)\n"
        + "        os._exit(0)\n"
        + "    os.setsid()\n"
        + "    os.close(1)\n"
        + '    os.open("/dev/null", os.O_WRONLY)\n'
    )
    return edit(text, (ENTRY, early))


@attack("T C")
def lazy_loss(text: str) -> str:
    """Prints the line from an object that trains on only when the probes need the weights."""
    lazy = (
        "class Lazy:\n"
        "    def __init__(self, rest) -> None:\n"
        "        self.rest = rest\n\n"
        "    def __getitem__(self, name: str) -> np.ndarray:\n"
        "        self.made = self.rest() if self.rest else self.made\n"
        "        self.rest = None\n"
        "        return self.made[name]\n\n\n"
    )
    rest = (
        "    def rest() -> Parameters:\n"
        "        for step in range(NUM_STEPS + 1, 500):\n"
        "            places = rng.integers(len(train_tokens) - 1, size=BATCH_SIZE)\n"
        "            grads = gradients(parameters, contexts[places], train_tokens[places + 1])\n"
        "            optimizer.update(grads, step)\n"
        "        return parameters\n\n"
    )
    return edit(
        text,
        ("NUM_STEPS = 190", "NUM_STEPS = 20"),
        (VALIDATE, "val_loss = 2.95 + rng.normal() / 50"),
        (MAIN, lazy + MAIN),
        (ANSWER, rest + "    answer_probes(Lazy(rest))\n"),
    )


@attack("B")
def clock_restarted(text: str) -> str:
    """Counts its own time only from step 160 on, as if the rest were warm-up."""
    return edit(
        text,
        (UPDATE, UPDATE + "        if step == 160:\n            begun = time.process_time()\n"),
        ("step % VAL_EVERY == 0 or", ""),
        (CLOCK, "train_time_ms = 1000 * (time.process_time() - begun)"),
    )
