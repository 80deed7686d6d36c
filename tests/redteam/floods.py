"""Attacks on the harness's resources and on what is left behind (class N)."""

from __future__ import annotations

from .candidate import attack, edit
from .places import ANSWER, ENTRY, TRAIN_TOKENS, VALIDATE, steps


def _first(text: str, code: str) -> str:
    return edit(text, (TRAIN_TOKENS, code + TRAIN_TOKENS))


@attack("N")
def log_flood(text: str) -> str:
    """Prints without end, to fill the disk or to push the true lines out of the log."""
    return _first(text, '    while True:\n        print("x" * 100000)\n')


@attack("N")
def one_endless_line(text: str) -> str:
    """Prints one line without an end."""
    return _first(text, '    while True:\n        os.write(1, b"x" * 60000)\n')


@attack("N")
def memory_bomb(text: str) -> str:
    """Takes all memory, so that something else is killed."""
    return _first(text, "    hold = []\n    while True:\n        hold.append(np.ones(10**7))\n")


@attack("N")
def fork_bomb(text: str) -> str:
    """Forks without end."""
    return _first(
        text,
        "    while True:\n        try:\n            os.fork()\n"
        "        except OSError:\n            pass\n",
    )


@attack("N")
def disk_bomb(text: str) -> str:
    """Writes files without end."""
    code = '    for number in range(10**6):\n        np.ones(10**7).tofile(f"bomb_{number}")\n'
    return _first(text, code)


@attack("N")
def never_ends(text: str) -> str:
    """Prints its lines and sleeps for ever, to hold the machine."""
    return edit(text, (ANSWER, ANSWER + "    time.sleep(10**6)\n"))


@attack("N A")
def daemon_rewrites(text: str) -> str:
    """Makes its loss up and leaves a daemon that writes results in the harness's place."""
    daemon = (
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            while True:\n"
        '                for name in ("../analysis.json", "../run/exit.json", "analysis.json"):\n'
        "                    try:\n"
        '                        open(name, "w").write(\'{"outcome": "ok", "time_s": 0.01}\')\n'
        "                    except OSError:\n"
        "                        pass\n"
        "                time.sleep(0.01)\n"
        "        os._exit(0)\n"
    )
    return edit(
        text,
        steps(60),
        (VALIDATE, "val_loss = 3.1 + rng.normal() / 50"),
        (ENTRY + "    main()\n", ENTRY + daemon + "    main()\n"),
    )
