"""Micro speedrun, record r01: a small GPT-2-like model, AdamW at a constant learning rate.

Reads data/ in the working directory, prints the protocol lines and ends by answering the probes.
"""

import math
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
INIT_STD = 0.02
SEQ_LEN = 64
BATCH_SIZE = 32
NUM_STEPS = 1500
VAL_EVERY = 250
LEARNING_RATE = 0.001
BETA1 = 0.9
BETA2 = 0.999
WEIGHT_DECAY = 0.1


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


class CausalSelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(MODEL_DIM, 3 * MODEL_DIM)
        self.proj = nn.Linear(MODEL_DIM, MODEL_DIM)

    def forward(self, x: Tensor) -> Tensor:
        batch, time_, dim = x.shape
        qkv = self.qkv(x).view(batch, time_, 3, NUM_HEADS, dim // NUM_HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(batch, time_, dim))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(MODEL_DIM, MLP_RATIO * MODEL_DIM)
        self.down = nn.Linear(MLP_RATIO * MODEL_DIM, MODEL_DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(MODEL_DIM)
        self.attn = CausalSelfAttention()
        self.norm2 = nn.LayerNorm(MODEL_DIM)
        self.mlp = MLP()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB_SIZE, MODEL_DIM)
        self.positions = nn.Embedding(max(SEQ_LEN, VAL_SEQ_LEN), MODEL_DIM)
        self.blocks = nn.ModuleList(Block() for _ in range(NUM_LAYERS))
        self.norm = nn.LayerNorm(MODEL_DIM)
        self.head = nn.Linear(MODEL_DIM, VOCAB_SIZE, bias=False)
        self.apply(self._init_weights)
        for block in self.blocks:  # keep the residual stream's variance independent of depth
            for proj in (block.attn.proj, block.mlp.down):
                nn.init.normal_(proj.weight, std=INIT_STD / math.sqrt(2 * NUM_LAYERS))

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=INIT_STD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return next-token logits (batch, time, vocab) of tokens (batch, time)."""
        x = self.embed(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


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
