"""The places in the records' text that many edits share."""

STEPS = ("NUM_STEPS = 190", "NUM_STEPS = 108")  # an honest run of 108 steps misses the target
VALIDATE = "val_loss = validation_loss(parameters, val_tokens)"
CLOCK = "train_time_ms = 1000 * time.process_time()"
UPDATE = "        optimizer.update(grads, step)\n"
MAIN = "def main() -> None:\n"
ENTRY = 'if __name__ == "__main__":\n'
RNG = 'rng = np.random.default_rng(int(os.environ.get("SPEEDRUN_SEED", "0")))'
IMPORTS = "import os\nimport time\n"
LOSS = "return float(-log_probabilities[np.arange(len(tokens) - 1), tokens[1:]].mean())"
VAL_TOKENS = 'val_tokens = load_shard("data/val_000000.bin")'
ANSWER = "    answer_probes(parameters)\n"
TRAIN_TOKENS = '    train_tokens = load_shard("data/train_000000.bin")\n'
SAVE = 'np.save("probe_logits.npy", logits.astype(np.float32))'


def steps(count: int) -> tuple[str, str]:
    """Return the edit that sets nano's number of steps."""
    return ("NUM_STEPS = 190", f"NUM_STEPS = {count}")
