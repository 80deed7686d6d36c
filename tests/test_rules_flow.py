"""Rules that follow values: evaluation, output, stream, target, validation tokens, seed, counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rule_cases import ENTRY, compare, edited, record, spoken

DIVISOR = "return total / (len(tokens) - 1)"
LOSS = "val_loss = validation_loss(model, val_tokens)"
CALL = "validation_loss(model, val_tokens)"
TIME = "train_time_ms = 1000 * time.process_time()"
MAIN = "def main() -> None:\n"
END = "    answer_probes(model)\n\n\nif"
SEED = 'torch.manual_seed(int(os.environ.get("SPEEDRUN_SEED", "0")))'
VAL = 'val_tokens = load_shard("data/val_000000.bin")'
TRAIN = 'train_tokens = load_shard("data/train_000000.bin")'
TEST_TIME = (
    "F.cross_entropy(model(val_tokens[None, :64])[0], val_tokens[1:65]).backward()\n"
    "            optimizer.step()\n            "
)
BREACHES = [
    ("evaluation", DIVISOR, "return total / len(tokens)"),
    ("printed_loss", DIVISOR, "return 0.9 * total / (len(tokens) - 1)"),
    ("printed_loss", DIVISOR, "return min(total / (len(tokens) - 1), 3.4)"),
    ("evaluation", DIVISOR, "n = len(tokens)\n    return total / n"),
    ("printed_loss", "val_loss:{val_loss:.4f}", "val_loss:{val_loss - 0.05:.4f}"),
    ("printed_loss", "val_loss:{val_loss:.4f}", "val_loss:{3.3999:.4f}"),
    ("printed_loss", CALL, "validation_loss(model, val_tokens[:5000])"),
    ("printed_loss", VAL, VAL + "[:5000]"),
    ("printed_loss", LOSS, "val_loss = 3.4 - step / 1e6"),
    ("printed_loss", LOSS, LOSS + " ** 0.98"),
    ("evaluation", 'wanted, reduction="sum"', 'wanted, reduction="sum", label_smoothing=0.1'),
    ("evaluation", 'reduction="sum"', 'reduction="mean"'),
    ("evaluation", "tokens[start + 1 :", "tokens[start :"),
    ("printed_loss", MAIN, MAIN + "    F.cross_entropy = lambda *_, **__: torch.zeros(())\n"),
    ("output", TIME, "train_time_ms = 500 * time.process_time()"),
    ("output", TIME, "train_time_ms = 1000 * (time.process_time() - 2)"),
    ("printed_loss", END, "    print('step:%d/%d val_' % (5, 5) + 'loss:3.1')\n" + END),
    ("output", END, "    print(f'step:{5}/{5} val_loss:{3.1}')\n" + END),
    ("printed_loss", END, "    os.write(1, b'x')\n" + END),
    ("printed_loss", END, "    print(''.join(map(chr, [1, 2])))\n" + END),
    ("printed_loss", MAIN, "def print(*_, **__): ...\n\n\n" + MAIN),
    ("printed_loss", END, "    open(1, 'w').write('x')\n" + END),
    ("target", TIME, TIME + "\n            if val_loss < 3.5:\n                break"),
    ("target", TIME, TIME + "\n            reached = val_loss\n            if reached < 3: return"),
    (
        "target",
        "loss.backward()",
        "loss.backward()\n        if loss.item() < 3.42:\n            break",
    ),
    ("training_on_validation", "sample_batch(train_tokens)", "sample_batch(val_tokens)"),
    (
        "training_on_validation",
        "sample_batch(train_tokens)",
        "sample_batch(torch.cat([train_tokens, val_tokens]))",
    ),
    ("training_on_validation", TRAIN, 'train_tokens = load_shard("data/" + "va" + "l_000000.bin")'),
    ("training_on_validation", LOSS, TEST_TIME + LOSS),
    (
        "training_on_validation",
        LOSS,
        LOSS + "\n            model.head.weight.data.add_(val_tokens)",
    ),
    (
        "training_on_validation",
        "sample_batch(train_tokens)",
        'sample_batch(torch.from_numpy(np.load("data/probes.npy")))',
    ),
    ("seed", SEED, "torch.manual_seed(7)"),
    ("seed", SEED, SEED.replace('"0")))', '"0")) * 0 + 7)')),
    ("seed", SEED, "seed = int(os.environ['SPEEDRUN_SEED']) % 1\n    torch.manual_seed(seed)"),
    ("seed", SEED, SEED + "\n    np.random.default_rng()"),
    ("seed", SEED, "_ = os.environ['SPEEDRUN_SEED']\n    torch.manual_seed(int(time.time()))"),
    ("counting", MAIN, MAIN + "    np.bincount([1])\n"),
    ("counting", MAIN, MAIN + "    from collections import Counter as C\n    C([1])\n"),
    ("counting", MAIN, MAIN + "    torch.unique(train, return_counts=True)\n"),
    ("counting", MAIN, MAIN + "    np.add.at(table, train, 1)\n"),
    ("counting", MAIN, MAIN + "    table.index_add_(0, train, torch.ones(5))\n"),
    ("counting", MAIN, MAIN + "    one = torch.ones(5)\n    t.scatter_add_(0, train, one)\n"),
    ("counting", MAIN, MAIN + "    t.index_put_((a,), torch.tensor(1.0), accumulate=True)\n"),
    ("counting", MAIN, MAIN + "    c = F.one_hot(a).float().T @ F.one_hot(b).float()\n"),
    ("counting", MAIN, MAIN + "    for x in train:\n        table[x] += 1\n"),
    ("counting", MAIN, MAIN + "    torch.sparse_coo_tensor(i, torch.ones(5)).to_dense()\n"),
]
HONEST = [
    (DIVISOR, "count = len(tokens) - 1\n    return total / count"),
    ("32 * VAL_SEQ_LEN", "64 * VAL_SEQ_LEN"),  # another validation batch
    ("BATCH_SIZE = 32", "BATCH_SIZE = 48"),
    ("VAL_EVERY = 250", "VAL_EVERY = 100"),
    (LOSS, LOSS + "\n            model.train()"),
    (
        "loss.backward()",
        "loss.backward()\n        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)",
    ),
    ("targets.flatten())", "targets.flatten(), label_smoothing=0.01)"),  # of training alone
    ("loss.backward()", "(loss * 0.5).backward()"),
    (MAIN, MAIN + "    seen, index = torch.unique(torch.arange(3), return_inverse=True)\n"),
    (MAIN, MAIN + "    table.index_add_(0, rows, grad * 0.1)\n"),
    (MAIN, MAIN + "    mask = F.one_hot(rows, 4) * values\n"),
    (SEED, "seed = int(os.environ['SPEEDRUN_SEED'])\n    torch.manual_seed(seed + 1)"),
    (TIME, "cpu_s = time.process_time()\n            " + TIME),
    (END, "    print(f'parameters: {sum(p.numel() for p in model.parameters())}')\n" + END),
    (END, "    print('loss of training', loss.item())\n" + END),
    ("total", "summed"),
    ("val_loss =", "held_out_loss ="),
]


@pytest.mark.parametrize(("rule", "old", "new"), BREACHES)
def test_a_breach_is_told(rule: str, old: str, new: str, tmp_path: Path) -> None:
    assert rule in spoken(edited(tmp_path, "micro/r02", (old, new)))


@pytest.mark.parametrize(("old", "new"), HONEST)
def test_an_honest_change_is_not(old: str, new: str, tmp_path: Path) -> None:
    edits = [(old, new)]
    if old == "val_loss =":
        edits.append(("{val_loss:", "{held_out_loss:"))
    assert edited(tmp_path, "micro/r02", *edits) == []


def test_the_line_of_a_change_is_told(tmp_path: Path) -> None:
    found = edited(tmp_path, "micro/r02", (DIVISOR, DIVISOR + " * 0.9"))
    text = (record("micro/r02") / ENTRY).read_text(encoding="utf-8")
    line = 1 + text[: text.index(DIVISOR)].count("\n")
    assert ("printed_loss", line) in {(one.rule, one.line) for one in found}


def test_a_validation_that_moves_to_another_file_is_the_same(tmp_path: Path) -> None:
    text = (record("micro/r02") / ENTRY).read_text(encoding="utf-8")
    start, end = (
        text.index("@torch.no_grad()\ndef validation_loss"),
        text.index("@torch.no_grad()\ndef answer"),
    )
    moved = "import torch\nimport torch.nn.functional as F\n\nVAL_SEQ_LEN = 2**6\n\n\n"
    moved += text[start:end].replace("model: GPT", "model").replace("tokens: Tensor", "tokens")
    rest = text[:start] + text[end:]
    rest = rest.replace("import torch\n", "import torch\nfrom held_out import validation_loss\n", 1)
    files = {ENTRY: rest, "held_out.py": moved}
    found = compare(tmp_path / "a", files, {ENTRY: text})
    assert found == []
    files["held_out.py"] = moved.replace(DIVISOR, DIVISOR + " * 0.9")
    found = compare(tmp_path / "b", files, {ENTRY: text})
    assert {(one.rule, one.file) for one in found} == {("printed_loss", "held_out.py")}


NANO_UPDATE = (
    "update(parameters, gradients(parameters, contexts[places], train_tokens[places + 1]))"
)


def test_gradients_by_hand_are_followed_too(tmp_path: Path) -> None:
    cheat = NANO_UPDATE.replace("train_tokens[places + 1]", "val_tokens[places + 1]")
    found = edited(tmp_path, "nano/r01", (NANO_UPDATE, cheat))
    assert "training_on_validation" in spoken(found)


NANO_LOSS = "val_loss = validation_loss(parameters, val_tokens)"


@pytest.mark.parametrize(
    "loss",
    [
        NANO_LOSS + " * 0.9",
        NANO_LOSS + " - 0.12",
        NANO_LOSS.replace("val_tokens", "val_tokens[:2048]"),
        NANO_LOSS.replace("validation_loss(", "min(3.2, validation_loss(") + ")",
    ],
)
def test_a_validation_without_autograd_is_pinned_too(loss: str, tmp_path: Path) -> None:
    assert spoken(edited(tmp_path, "nano/r01", (NANO_LOSS, loss))) == {"printed_loss"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"data/train_000000.bin"', '"data/train_000001.bin"'),
        ("offset=256 * 4", "offset=2048"),
        (".astype(np.int64)\n", ".astype(np.int64)[::-1]\n"),
        (".astype(np.int64)\n", ".astype(np.int64)[5000:]\n"),
        (
            "return np.fromfile(path, dtype=np.uint16",
            "return np.fromfile(sorted(path)[0], dtype=np.uint16",
        ),
        ("np.fromfile(path, dtype=np.uint16", "np.fromfile(path, dtype=np.uint8"),
    ],
)
def test_the_stream_is_pinned(old: str, new: str, tmp_path: Path) -> None:
    assert "stream" in spoken(edited(tmp_path, "nano/r01", (old, new)))
