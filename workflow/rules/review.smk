# review: what the rules find in each winner, a person's decisions, perhaps a model's opinion.
rule review:
    input:
        plan=stage_plan("review"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        task="results/tasks/{track}/{task}/task.record.json",
        decisions=decisions,
    output:
        product=f"results/{SWEEP}/review/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/review/{{track}}/{{task}}.review.record.json",
    log:
        task_log("review"),
    params:
        version=versions.REVIEW,
    message:
        "review {wildcards.track}/{wildcards.task}"
    shell:
        "speedrun review --plan {input.plan} --task {wildcards.task} --out {output.product}"
        f" --reviews {REPOSITORY / 'reviews'}"
        " --operation {OPERATION}"
        " 2>&1 | tee {log}"
