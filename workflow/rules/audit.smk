# audit: start, target and every winner of a task, re-timed in turn in one interleaved block.
# On the CPU clock a lane has a core and nothing may run beside a timed block but its own lanes; on
# any other there is one lane, which takes what a run takes.
LANES = CONFIG["audit"]["lanes"] if CONFIG["track"]["clock"] == "cpu" else 1
# There no model is asked meanwhile either: a question takes a second of CPU at its start.
PLACES = scheduling.PLACES_MOST if CONFIG["track"]["clock"] == "cpu" else 0


rule audit:
    input:
        **optional_inputs("manifest", "targets"),
        plan=stage_plan("audit"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        task="results/tasks/{track}/{task}/task.record.json",
        review=f"results/{SWEEP}/review/{{track}}/{{task}}.json",
        environment=environment_of_task,
    output:
        product=f"results/{SWEEP}/audit/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/audit/{{track}}/{{task}}.audit.record.json",
    log:
        task_log("audit"),
    threads: LANES * CONFIG["hardware"]["threads"]
    resources:
        **specs.gpu(CONFIG),
        device=LANES,
        waiting=lambda wildcards: PLACES if workflow.local_exec else 0,
        mem_mb=CONFIG["hardware"]["memory_mb"] * LANES,
        runtime=lambda wildcards: plan.audit_minutes(CONFIG, wildcards.task, LANES),
    params:
        spec=lambda wildcards: as_json(specs.train(CONFIG, SETTINGS[wildcards.task])),
        version=versions.AUDIT,
    message:
        "audit {wildcards.track}/{wildcards.task}: interleaved re-timing"
    shell:
        "speedrun audit --plan {input.plan} --task {wildcards.task} --out {output.product}"
        f" --shards results/shards/{CORPUS} --store store/retimings --review {{input.review}}"
        " --operation {OPERATION} --spec {params.spec:q} --lanes "
        + ("{threads}" if CONFIG["track"]["clock"] == "cpu" else "1")
        + optional_words("manifest")
        + " 2>&1 | tee {log}"
