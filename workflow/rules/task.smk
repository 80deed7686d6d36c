# task: the public workspace (start code, hints) and the private side (target, diff, rubric).
rule task:
    input:
        records=start_and_target,
        hints=hint_files,
        rules=lambda wildcards: str(
            REPOSITORY / "tracks" / wildcards.track / "rules.md"
        ),
    output:
        public="results/tasks/{track}/{task}/public/task.json",
        record="results/tasks/{track}/{task}/task.record.json",
    log:
        "results/logs/task/{track}/{task}.log",
    params:
        spec=lambda wildcards: as_json(specs.task(CONFIG, wildcards.task)),
        hints=lambda wildcards: str(
            REPOSITORY / "hints" / wildcards.track / wildcards.task
        ),
        version=versions.TASK,
    message:
        "task {wildcards.track}/{wildcards.task}"
    shell:
        "speedrun task --spec {params.spec:q} --rules {input.rules:q}"
        " --records results/records/{wildcards.track}"
        " --hints {params.hints:q}"
        " --out results/tasks/{wildcards.track}/{wildcards.task}"
        " 2>&1 | tee {log}"
