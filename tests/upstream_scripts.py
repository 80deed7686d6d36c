"""Small training scripts, one a record, written for these tests; nothing in them is upstream's."""

from __future__ import annotations

# What a parser could take for the log's own lines, and must not: it stands in the code.
LOOK_ALIKES = f'''
"""
An escape that Python warns of: \\s
{"=" * 100}
Running PyTorch 9.9.9+cu999 compiled for CUDA 99.9
{"=" * 100}
step:999/999 val_loss:0.0001 train_time:1ms step_avg:0.01ms
s:999 tel:0.0001
peak memory allocated: 1 MiB reserved: 1 MiB
{"-" * 40}
# no file of that name
{"-" * 40}
"""
'''
EARLY = '''\
"""Early script {name}: one file with arguments."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--num_iterations", type=int, default=200)
args = parser.parse_args()
learning_rate = {rate}
for step in range(args.num_iterations + 1):
    loss = 3.27 + 7.5 * (1 - step / args.num_iterations) ** 8
    print(f"s:{{step}} tel:{{loss:.4f}}")
'''
MAIN = '''\
"""Script {name}: prints what a run prints → in the speedrun's own protocol."""

import os
import sys
import time

with open(sys.argv[0]) as file:
    code = file.read()
{imports}

def print0(text):
    if int(os.environ.get("RANK", "0")) == 0:
        print(text, flush=True)

{extra}
num_iterations = {steps}
learning_rate = {rate}
print0("=" * 100)
print0(f"Running Python {{sys.version}}")
print0("=" * 100)
start = time.perf_counter()
for step in range(num_iterations + 1):
    val_loss = 3.27 + 7.5 * (1 - step / num_iterations) ** 8
    train_time_ms = round(1000 * (time.perf_counter() - start))
    step_avg = train_time_ms / max(step, 1)
    times = f"train_time:{{train_time_ms}}ms step_avg:{{step_avg:.2f}}ms"
    print0(f"step:{{step}}/{{num_iterations}} val_loss:{{val_loss:.4f}} {{times}}")
'''
KERNELS = '''\
"""Kernels of {name}."""


def softcap(value, cap={cap}):
    return cap * value / (cap + abs(value))
'''


def early(name: str, rate: float) -> str:
    return EARLY.format(name=name, rate=rate)


def main(
    name: str, rate: float, *, imports: tuple[str, ...] = (), look_alikes: bool = False
) -> str:
    return MAIN.format(
        name=name,
        rate=rate,
        steps=200,
        imports="".join(f"\n{line}\n" for line in imports),
        extra=LOOK_ALIKES if look_alikes else "",
    )


def kernels(name: str, cap: float) -> str:
    return KERNELS.format(name=name, cap=cap)
