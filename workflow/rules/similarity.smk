# similarity: how much of the distance to the human's code each winner recovered.
rule similarity:
    input:
        plan=stage_plan("similarity"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        task="results/tasks/{track}/{task}/task.record.json",
    output:
        product=f"results/{SWEEP}/similarity/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/similarity/{{track}}/{{task}}.similarity.record.json",
    log:
        task_log("similarity"),
    params:
        version=versions.SIMILARITY,
    message:
        "similarity {wildcards.track}/{wildcards.task}"
    shell:
        "speedrun similarity --plan {input.plan} --task {wildcards.task} --out {output.product}"
        " 2>&1 | tee {log}"
