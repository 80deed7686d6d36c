# similarity: how much of the distance to the human's code each winner recovered.
rule similarity:
    input:
        plan=STAGE_PLAN.replace("{stage}", "similarity").replace(TRACK, "{track}"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        task="results/tasks/{track}/{task}/task.record.json",
    output:
        product=f"results/{SWEEP}/similarity/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/similarity/{{track}}/{{task}}.similarity.record.json",
    params:
        version=versions.SIMILARITY,
    message:
        "similarity {wildcards.track}/{wildcards.task}"
    shell:
        "{SPEEDRUN} similarity --plan {input.plan} --task {wildcards.task} --out {output.product}"
