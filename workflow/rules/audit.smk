# audit: start, target and every winner of a task, re-timed in turn in one interleaved block.
rule audit:
    input:
        plan=stage_plan("audit"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        task="results/tasks/{track}/{task}/task.record.json",
        manifest=f"results/corpus/{CORPUS}/manifest.json",
        targets=f"results/shards/{CORPUS}/private/probes/set_00/targets.npy",
    output:
        product=f"results/{SWEEP}/audit/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/audit/{{track}}/{{task}}.audit.record.json",
    log:
        task_log("audit"),
    # One core a lane: nothing may run beside a timed block but its own lanes.
    threads: CONFIG["audit"]["lanes"]
    resources:
        **specs.gpu(CONFIG),
        mem_mb=CONFIG["hardware"]["memory_mb"] * CONFIG["audit"]["lanes"],
        runtime=720,
    params:
        spec=lambda wildcards: as_json(specs.train(CONFIG)),
        version=versions.AUDIT,
    message:
        "audit {wildcards.track}/{wildcards.task}: interleaved re-timing"
    shell:
        "speedrun audit --plan {input.plan} --task {wildcards.task} --out {output.product}"
        f" --shards results/shards/{CORPUS} --store store/retimings"
        " --manifest {input.manifest} --spec {params.spec:q} --lanes {threads}"
        " 2>&1 | tee {log}"
