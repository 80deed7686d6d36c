"""Micro speedrun, record r04: rotary positions, RMSNorm, QK-norm, ReLU squared, zero init.

Reads data/ in the working directory, prints the protocol lines and ends by answering the probes.
"""

import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Hyperparameters. The plain numbers may be tuned; the powers of two are fixed by the track.
VOCAB_SIZE = 2**10
VAL_SEQ_LEN = 2**6  # longest context that is ever evaluated; the probes are shorter
MODEL_DIM = 64
NUM_HEADS = 2
NUM_LAYERS = 2
MLP_RATIO = 4
EMBED_STD = 0.5
ROTARY_BASE = 1024
SEQ_LEN = 64
BATCH_SIZE = 32
NUM_STEPS = 640
VAL_EVERY = 250
LEARNING_RATE = 0.01
WARMUP_STEPS = 50
COOLDOWN_FRACTION = 0.6
BETA1 = 0.9
BETA2 = 0.95
WEIGHT_DECAY = 0.0


# --- data ---------------------------------------------------------------------------------------


def load_shard(path: str) -> Tensor:
    """Return the tokens of a .bin shard: a header of 256 int32, then uint16 tokens."""
    return torch.from_numpy(np.fromfile(path, dtype=np.uint16, offset=256 * 4).astype(np.int64))


def sample_batch(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Cut BATCH_SIZE random windows; return inputs and next-token targets, (batch, time) each."""
    starts = torch.randint(len(tokens) - SEQ_LEN - 1, (BATCH_SIZE, 1))
    windows = tokens[starts + torch.arange(SEQ_LEN + 1)]
    return windows[:, :-1], windows[:, 1:]


# --- model --------------------------------------------------------------------------------------


def rms_norm(x: Tensor) -> Tensor:
    """Normalise the last dimension to unit root mean square; there is nothing to learn."""
    return F.rms_norm(x, (x.shape[-1],))


class Rotary(nn.Module):
    """Rotate half of each head's dimensions by position; the other half stays position-free."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        frequencies = (1 / ROTARY_BASE) ** torch.linspace(0, 1, head_dim // 4)
        frequencies = torch.cat([frequencies, torch.zeros(head_dim // 4)])
        angles = torch.arange(max(SEQ_LEN, VAL_SEQ_LEN))[:, None] * frequencies
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x: Tensor) -> Tensor:
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        x1, x2 = x.chunk(2, dim=-1)
        return torch.cat([x1 * cos + x2 * sin, x2 * cos - x1 * sin], dim=-1)


class CausalSelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Parameter(torch.empty(3, MODEL_DIM, MODEL_DIM))
        self.proj = nn.Linear(MODEL_DIM, MODEL_DIM, bias=False)
        self.rotary = Rotary(MODEL_DIM // NUM_HEADS)

    def forward(self, x: Tensor) -> Tensor:
        batch, time_, dim = x.shape
        qkv = F.linear(x, self.qkv.flatten(0, 1))
        q, k, v = qkv.view(batch, time_, 3, NUM_HEADS, dim // NUM_HEADS).permute(2, 0, 3, 1, 4)
        q, k = self.rotary(rms_norm(q)), self.rotary(rms_norm(k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(batch, time_, dim))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(MODEL_DIM, MLP_RATIO * MODEL_DIM, bias=False)
        self.down = nn.Linear(MLP_RATIO * MODEL_DIM, MODEL_DIM, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)).square())


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = CausalSelfAttention()
        self.mlp = MLP()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(rms_norm(x))
        return x + self.mlp(rms_norm(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB_SIZE, MODEL_DIM)
        self.blocks = nn.ModuleList(Block() for _ in range(NUM_LAYERS))
        self.head = nn.Linear(MODEL_DIM, VOCAB_SIZE, bias=False)
        nn.init.normal_(self.embed.weight, std=EMBED_STD)
        nn.init.zeros_(self.head.weight)  # start from the uniform distribution
        for block in self.blocks:  # every block starts as the identity
            for weight in (block.attn.qkv, block.mlp.up.weight):
                nn.init.normal_(weight, std=0.5 * MODEL_DIM**-0.5)
            for weight in (block.attn.proj.weight, block.mlp.down.weight):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return next-token logits (batch, time, vocab) of tokens (batch, time)."""
        x = rms_norm(self.embed(tokens))
        for block in self.blocks:
            x = block(x)
        return self.head(rms_norm(x))


# --- evaluation ---------------------------------------------------------------------------------


@torch.no_grad()
def validation_loss(model: GPT, tokens: Tensor) -> float:
    """Return the mean loss, in nats a token, over the whole shard in windows of VAL_SEQ_LEN."""
    total = 0.0
    for start in range(0, len(tokens) - 1, 32 * VAL_SEQ_LEN):
        inputs = tokens[start : start + 32 * VAL_SEQ_LEN][: len(tokens) - 1 - start]
        targets = tokens[start + 1 : start + 1 + len(inputs)]
        # The last chunk may be ragged: its tail is a window of its own.
        full = len(inputs) // VAL_SEQ_LEN * VAL_SEQ_LEN
        for rows, wanted in (
            (inputs[:full].view(-1, VAL_SEQ_LEN), targets[:full]),
            (inputs[full:][None], targets[full:]),
        ):
            if rows.numel():
                logits = model(rows).flatten(0, 1)
                total += F.cross_entropy(logits, wanted, reduction="sum").item()
    return total / (len(tokens) - 1)


@torch.no_grad()
def answer_probes(model: GPT) -> None:
    """Write the logits of the token after each context, float32 (contexts, vocab)."""
    contexts = torch.from_numpy(np.load("data/probes.npy").astype(np.int64))
    logits = [model(rows)[:, -1] for rows in contexts.split(32)]
    np.save("probe_logits.npy", torch.cat(logits).float().numpy())


# --- training -----------------------------------------------------------------------------------


def lr_scale(step: int) -> float:
    """Return the factor on the peak rate: linear warm-up, plateau, linear decay to zero."""
    warmup = step / WARMUP_STEPS
    cooldown = (NUM_STEPS - step + 1) / (COOLDOWN_FRACTION * NUM_STEPS)
    return min(1.0, warmup, cooldown)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(int(os.environ.get("SPEEDRUN_SEED", "0")))
    train_tokens = load_shard("data/train_000000.bin")
    val_tokens = load_shard("data/val_000000.bin")
    model = GPT()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(BETA1, BETA2), weight_decay=WEIGHT_DECAY
    )
    for step in range(1, NUM_STEPS + 1):
        inputs, targets = sample_batch(train_tokens)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * lr_scale(step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % VAL_EVERY == 0 or step == NUM_STEPS:
            val_loss = validation_loss(model, val_tokens)
            train_time_ms = 1000 * time.process_time()
            print(
                f"step:{step}/{NUM_STEPS} val_loss:{val_loss:.4f} "
                f"train_time:{train_time_ms:.0f}ms step_avg:{train_time_ms / step:.2f}ms",
                flush=True,
            )
    answer_probes(model)


if __name__ == "__main__":
    main()
