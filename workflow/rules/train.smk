# train: one solution, run in the sandbox and timed by the harness.
SHARDS = f"results/shards/{CORPUS}"


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


TRAIN = (
    "{SPEEDRUN} train --entry {params.entry} --shards {SHARDS} --probes {input.probes}"
    " --manifest {input.manifest} --spec {params.spec:q}"
)


# run/log.jsonl is written too but not declared: Snakemake would delete it with an interrupted job,
# and a finished run that was paid for could not be restored.
rule train:
    input:
        **training_inputs(),
        parent=NODE + "/parent.json",
    output:
        exit=NODE + "/run/exit.json",
        record=NODE + "/train.record.json",
    threads: CONFIG["hardware"]["threads"]
    resources:
        **specs.gpu(CONFIG),
        mem_mb=CONFIG["hardware"]["memory_mb"],
        runtime=CONFIG["hardware"]["timeout_s"] // 60 + 5,
    params:
        entry=CONFIG["track"]["entry"],
        spec=lambda wildcards: as_json(specs.train(CONFIG)),
        version=versions.TRAIN,
    message:
        "train {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        TRAIN + " --parent {input.parent} --folder " + in_shell(NODE)


rule train_reference:
    input:
        **training_inputs(),
        solution=f"results/records/{{track}}/{{record}}/files/{CONFIG['track']['entry']}",
    output:
        exit=REFERENCE + "/run/exit.json",
        record=REFERENCE + "/train.record.json",
    threads: CONFIG["hardware"]["threads"]
    resources:
        **specs.gpu(CONFIG),
        mem_mb=CONFIG["hardware"]["memory_mb"],
        runtime=CONFIG["hardware"]["timeout_s"] // 60 + 5,
    params:
        entry=CONFIG["track"]["entry"],
        spec=lambda wildcards: as_json(specs.train(CONFIG)),
        version=versions.TRAIN,
    message:
        "reference {wildcards.track}/{wildcards.record} run {wildcards.run}"
    shell:
        TRAIN
        + " --solution results/records/{wildcards.track}/{wildcards.record}/files --folder "
        + in_shell(REFERENCE)
