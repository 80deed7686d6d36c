# task: the public workspace (start code, hints) and the private side (target, diff, rubric).
def hint_files(wildcards):
    folder = REPOSITORY / "hints" / wildcards.track / wildcards.task
    return [str(path) for path in sorted(folder.glob("*")) if path.is_file()]


def start_and_target(wildcards):
    return [
        f"results/records/{wildcards.track}/{record}/files/{CONFIG['track']['entry']}"
        for record in wildcards.task.split("-")
    ]


rule task:
    input:
        records=start_and_target,
        hints=hint_files,
    output:
        public="results/tasks/{track}/{task}/public/task.json",
        record="results/tasks/{track}/{task}/task.record.json",
    params:
        spec=lambda wildcards: as_json(specs.task(CONFIG, wildcards.task)),
        levels=specs.hint_levels(CONFIG),
        rules=lambda wildcards: str(
            REPOSITORY / "tracks" / wildcards.track / "rules.md"
        ),
        hints=lambda wildcards: str(
            REPOSITORY / "hints" / wildcards.track / wildcards.task
        ),
        version=versions.TASK,
    message:
        "task {wildcards.track}/{wildcards.task}"
    shell:
        "{SPEEDRUN} task --spec {params.spec:q} --rules {params.rules:q}"
        " --records results/records/{wildcards.track}"
        " --hints {params.hints:q} --levels {params.levels:q}"
        " --out results/tasks/{wildcards.track}/{wildcards.task}"
