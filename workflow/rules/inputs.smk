# What each rule reads, where a pattern is not enough.
SHARDS = f"results/shards/{CORPUS}"


def record_source(wildcards):
    folder = REPOSITORY / "tracks" / wildcards.track / "records" / wildcards.record
    return [str(path) for path in sorted(folder.glob("*")) if path.is_file()]


def hint_files(wildcards):
    folder = REPOSITORY / "hints" / wildcards.track / wildcards.task
    return [str(path) for path in sorted(folder.glob("*")) if path.is_file()]


def start_and_target(wildcards):
    return [
        f"results/records/{wildcards.track}/{record}/files/{CONFIG['track']['entry']}"
        for record in wildcards.task.split("-")
    ]


def earlier_analyses(wildcards):
    trial = trial_of(wildcards)
    scaffold = search.scaffold(trial.arm["scaffold"])
    earlier = search.earlier_nodes(scaffold, int(wildcards.node))
    return [f"{trial.folder}/node_{node}/analysis.json" for node in earlier]


def root_analysis(wildcards):
    return f"{PLAN['references'][wildcards.task.split('-')[0]][0]}/analysis.json"


def oracle_target(wildcards):
    """The private target, for the oracle alone."""
    if trial_of(wildcards).arm["coder"]["name"] != "oracle":
        return []
    return f"results/tasks/{wildcards.track}/{wildcards.task}/task.record.json"


def recorded_replies(wildcards):
    if trial_of(wildcards).arm["coder"]["name"] != "replay":
        return []
    hints = "+".join(trial_of(wildcards).arm["hints"]) or "none"
    folder = REPOSITORY / "replies" / "coder" / wildcards.track / wildcards.task / hints
    pattern = f"s{wildcards.seed}_n{wildcards.node}_t*/reply.md"
    return [str(path) for path in sorted(folder.glob(pattern))]


def training_inputs():
    return {
        "shards": [
            f"{SHARDS}/meta.json",
            f"{SHARDS}/public/train_000000.bin",
            f"{SHARDS}/public/val_000000.bin",
        ],
        "probes": f"{SHARDS}/private/probes/set_00/contexts.npy",
        "manifest": f"results/corpus/{CORPUS}/manifest.json",
    }


def judge_replies(wildcards):
    folder = REPOSITORY / "replies" / "judge" / wildcards.track / wildcards.task
    return [str(path) for path in sorted(folder.glob("*/reply.md"))]
