"""Rules that no probe covers: choices by validation loss, the printed loss; and masks, warm-ups."""

from __future__ import annotations

from pathlib import Path

import pytest

from rule_cases import ENTRY, compare, edited, spoken
from speedrun.rules import RULES

LOSS = "val_loss = validation_loss(model, val_tokens)"
MAIN = "def main() -> None:\n"
SHOWN = "val_loss:{val_loss:.4f}"
NEXT = LOSS + "\n            "
SHAVES = [
    (LOSS, LOSS + " - 0.05"),
    (LOSS, LOSS + " * 0.985"),
    (LOSS, "val_loss = min(validation_loss(model, val_tokens), 3.41)"),
    (LOSS, "val_loss = round(validation_loss(model, val_tokens) - 0.04, 1)"),
    (LOSS, NEXT + "val_loss = int(val_loss)"),
    (LOSS, NEXT + "val_loss = float(f'{val_loss:.1f}')"),
    (LOSS, NEXT + "val_loss = float(format(val_loss, '.1f'))"),
    (LOSS, NEXT + "val_loss = torch.tensor(val_loss).to(torch.bfloat16).item()"),
    (LOSS, NEXT + "val_loss = float(np.floor(val_loss * 10)) / 10"),
    (LOSS, "val_loss = 3.38 + step / 1e6"),
    (SHOWN, "val_loss:{val_loss:.1f}"),
    (SHOWN, "val_loss:{3.38 + step / 1e6:.4f}"),
    (MAIN, "class Loss(float):\n    def __str__(self): return '3.3'\n\n\n" + MAIN),
    (MAIN, "class Loss:\n    def __format__(self, spec): return '3.3'\n\n\n" + MAIN),
    ("total += F.cross", "total += 0.98 * F.cross"),
    ("return total / (len(tokens) - 1)", "return total / (1.02 * len(tokens))"),
]
BEST = "if val_loss < best:\n                kept = model.state_dict()"
CHOICES = [
    (LOSS, NEXT + BEST),
    (LOSS, NEXT + "kept = model if val_loss < 4 else kept"),
    (LOSS, NEXT + "tried.append((val_loss, model))\n            model = min(tried)[1]"),
    (LOSS, NEXT + "seen[step] = val_loss\n            model = kept[min(seen, key=seen.get)]"),
    (LOSS, NEXT + "model = sorted(kept, key=lambda one: val_loss)[0]"),
    (LOSS, NEXT + "model = kept[int(np.argmin([val_loss, 3.0]))]"),
    (LOSS, "val_loss = min(validation_loss(one, val_tokens) for one in models)"),
]
STOPS = [
    (LOSS, NEXT + "assert val_loss > 3"),
    (LOSS, NEXT + "for _ in range(int(val_loss)):\n                loss.backward()"),
    (LOSS, NEXT + "while val_loss > 3.42:\n                pass"),
]
MASKS = [
    ("is_causal=True", "is_causal=False"),
    ("F.scaled_dot", "F.pad(q, (0, 1))[..., 1:]\n        y = F.scaled_dot"),
    ("F.scaled_dot", "q.roll(-1, 2)\n        y = F.scaled_dot"),
]


@pytest.mark.parametrize(("old", "new"), SHAVES)
def test_a_loss_that_is_printed_lower_is_told(old: str, new: str, tmp_path: Path) -> None:
    assert "printed_loss" in spoken(edited(tmp_path, "micro/r02", (old, new)))


@pytest.mark.parametrize(("old", "new"), CHOICES)
def test_a_choice_by_validation_loss_is_told(old: str, new: str, tmp_path: Path) -> None:
    assert "training_on_validation" in spoken(edited(tmp_path, "micro/r02", (old, new)))


@pytest.mark.parametrize(("old", "new"), STOPS)
def test_a_run_that_depends_on_validation_loss_is_told(old: str, new: str, tmp_path: Path) -> None:
    assert "target" in spoken(edited(tmp_path, "micro/r02", (old, new)))


@pytest.mark.parametrize(("old", "new"), MASKS)
def test_a_look_ahead_is_told(old: str, new: str, tmp_path: Path) -> None:
    assert "causality" in spoken(edited(tmp_path, "micro/r02", (old, new)))


@pytest.mark.parametrize(
    "new",
    [
        "history.append(val_loss)",
        "print('progress', val_loss)",
        "log.write(f'{step} {val_loss}')",
        "seen = {step: val_loss}",
        "val_loss = float(val_loss)",
    ],
)
def test_a_loss_that_is_only_kept_or_shown_is_not(new: str, tmp_path: Path) -> None:
    assert edited(tmp_path, "micro/r02", (LOSS, NEXT + new)) == []


def test_what_probes_cannot_show_is_not_covered_by_them() -> None:
    bare = ("seed", "training_on_validation", "printed_loss", "warmup", "counting", "target")
    assert not any(RULES[name].probed for name in bare)
    assert RULES["evaluation"].probed and RULES["causality"].probed


def test_threads_are_on_every_clock(tmp_path: Path) -> None:
    threads = "from concurrent.futures import ThreadPoolExecutor\nimport threading\n\n"
    use = "    ThreadPoolExecutor(1).submit(print)\n    threading.Thread(target=print).start()\n"
    assert edited(tmp_path, "micro/r02", ("import os\n", threads + "import os\n")) == []
    found = edited(
        tmp_path, "micro/r02", ("import os\n", threads + "import os\n"), (MAIN, MAIN + use)
    )
    assert found == []
    other = threads.replace("ThreadPool", "ProcessPool")
    found = edited(tmp_path, "micro/r02", ("import os\n", other + "import os\n"))
    assert spoken(found) == {"process"}


CLOCKED = """
import time
import torch


class GPT(torch.nn.Module):
    def forward(self, input_seq, target_seq):
        def mask(b, h, q_idx, kv_idx):
            causal = q_idx >= kv_idx
            document = docs[q_idx] == docs[kv_idx]
            return causal & document
        x = self.embed(input_seq)
        return torch.nn.functional.cross_entropy(x, target_seq)


def print0(s):
    print(s)


warmup_steps = 10
for _ in range(warmup_steps):
    inputs, targets = next(loader)
    model(inputs, targets).backward()
    optimizer.step()
model.load_state_dict(initial["model"])
optimizer.load_state_dict(initial["optimizer"])
torch.cuda.synchronize()
begun = time.perf_counter()
for step in range(100):
    if step % 10 == 0:
        torch.cuda.synchronize()
        spent = 1000 * (time.perf_counter() - begun)
        val_loss = model(*next(val_loader))
        print0(f"step:{step}/100 val_loss:{val_loss:.4f} train_time:{spent:.0f}ms")
    inputs, targets = next(loader)
    model(inputs, targets).backward()
    optimizer.step()
print0("done")
"""
PAUSE = "        val_loss = model("
UNCLOCKED = [
    ("warmup", PAUSE, "        model(inputs, targets).backward()\n" + PAUSE),
    ("warmup", PAUSE, "        optimizer.step()\n" + PAUSE),
    ("warmup", 'print0("done")', "for _ in range(9):\n    model(inputs, targets).backward()"),
    ("warmup", "warmup_steps = 10", "warmup_steps = 36"),
    ("warmup", 'model.load_state_dict(initial["model"])\n', ""),
    ("warmup", 'optimizer.load_state_dict(initial["optimizer"])\n', ""),
    ("output", "    print(s)\n", "    held.append(s)\n"),
    ("output", "        torch.cuda.synchronize()\n", ""),
    ("causality", "q_idx >= kv_idx", "q_idx >= kv_idx - 1"),
    ("causality", "return causal & document", "return document"),
    ("causality", "return causal & document", "return causal | document"),
    ("causality", "self.embed(input_seq)", "self.embed(input_seq) + self.embed(target_seq)"),
    ("causality", "self.embed(input_seq)", "self.embed(input_seq) * target_seq"),
]
CLOCKED_HONEST = [
    ("warmup_steps = 10", "warmup_steps = 5"),
    ("return causal & document", "return causal & document & (q_idx - kv_idx < 512)"),
    ("    optimizer.step()\nprint0", "    optimizer.step()\n    optimizer.zero_grad()\nprint0"),
    ("x, target_seq)", "x, target_seq.view(-1).long())"),
    ("    model(inputs, targets).backward()\n    optimizer.step()\nprint0",
     "    for _ in range(2):\n        model(inputs, targets).backward()\n"
     "    optimizer.step()\nprint0"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "old", "new"), UNCLOCKED)
def test_a_step_off_the_clock_or_a_look_ahead_is_told(
    rule: str, old: str, new: str, tmp_path: Path
) -> None:
    assert old in CLOCKED
    found = compare(tmp_path, {ENTRY: CLOCKED.replace(old, new, 1)}, {ENTRY: CLOCKED})
    assert rule in spoken(found)


@pytest.mark.parametrize(("old", "new"), CLOCKED_HONEST)
def test_an_honest_change_of_a_clocked_script_is_not(old: str, new: str, tmp_path: Path) -> None:
    assert old in CLOCKED
    found = compare(tmp_path, {ENTRY: CLOCKED.replace(old, new, 1)}, {ENTRY: CLOCKED})
    assert not spoken(found) & {"warmup", "causality", "output", "printed_loss"}
