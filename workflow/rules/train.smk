# train: one solution, run in the sandbox and timed by the harness.

TRAIN = (
    f"speedrun train --shards {SHARDS}"
    " --entry {params.entry} --probes {input.probes} --manifest {input.manifest}"
    " --spec {params.spec:q}"
)


# run/log.jsonl is written too but not declared: Snakemake would delete it with an interrupted job,
# and a finished run that was paid for could not be restored.
rule train:
    input:
        **training_inputs(),
        parent=f"{NODE}/parent.json",
    output:
        exit=f"{NODE}/run/exit.json",
        record=f"{NODE}/train.record.json",
    log:
        node_log("train"),
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
        TRAIN
        + " --parent {input.parent} --folder "
        + in_shell(NODE)
        + " 2>&1 | tee {log}"


rule train_reference:
    input:
        **training_inputs(),
        solution=f"results/records/{{track}}/{{record}}/files/{CONFIG['track']['entry']}",
    output:
        exit=f"{REFERENCE}/run/exit.json",
        record=f"{REFERENCE}/train.record.json",
    log:
        reference_log("train"),
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
        + " 2>&1 | tee {log}"
