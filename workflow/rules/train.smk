# train: one solution, run in the sandbox and timed by the harness.

TRAIN = (
    f"speedrun train --shards {SHARDS}"
    " --entry {params.entry} --spec {params.spec:q}"
    + optional_words("probes", "manifest")
)


# run/log.jsonl is written too but not declared: Snakemake would delete it with an interrupted job,
# and a finished run that was paid for could not be restored.
rule train:
    input:
        **optional_inputs("probes", "manifest"),
        shards=shards_of_task,
        parent=f"{NODE}/parent.json",
        environment=environment_of_task,
    output:
        exit=f"{NODE}/run/exit.json",
        record=f"{NODE}/train.record.json",
    log:
        node_log("train"),
    priority: generations_left
    threads: CONFIG["hardware"]["threads"]
    resources:
        **specs.gpu(CONFIG),
        device=1,
        mem_mb=CONFIG["hardware"]["memory_mb"],
        runtime=CONFIG["hardware"]["timeout_s"] // 60 + 5,
    params:
        entry=CONFIG["track"]["entry"],
        spec=lambda wildcards: as_json(specs.train(CONFIG, SETTINGS[wildcards.task])),
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
        **optional_inputs("probes", "manifest"),
        shards=shards_of_reference,
        solution=f"results/records/{{track}}/{{record}}/files/{CONFIG['track']['entry']}",
        environment=environment_of_reference,
    output:
        exit=f"{REFERENCE}/run/exit.json",
        record=f"{REFERENCE}/train.record.json",
    log:
        reference_log("train"),
    threads: CONFIG["hardware"]["threads"]
    resources:
        **specs.gpu(CONFIG),
        device=1,
        mem_mb=CONFIG["hardware"]["memory_mb"],
        runtime=CONFIG["hardware"]["timeout_s"] // 60 + 5,
    params:
        entry=CONFIG["track"]["entry"],
        spec=lambda wildcards: as_json(specs.train(CONFIG, KEY_SETTINGS[wildcards.key])),
        version=versions.TRAIN,
    message:
        "reference {wildcards.track}/{wildcards.record} run {wildcards.run}"
    shell:
        TRAIN
        + " --solution results/records/{wildcards.track}/{wildcards.record}/files --folder "
        + in_shell(REFERENCE)
        + " 2>&1 | tee {log}"
