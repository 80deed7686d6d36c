# judge: which of the human's changes each winner made, change by change.
rule judge:
    input:
        plan=stage_plan("judge"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        task="results/tasks/{track}/{task}/task.record.json",
        replies=judge_replies,
    output:
        product=f"results/{SWEEP}/judge/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/judge/{{track}}/{{task}}.judge.record.json",
    log:
        task_log("judge"),
    params:
        version=versions.JUDGE,
    message:
        "judge {wildcards.track}/{wildcards.task}"
    shell:
        "speedrun judge --plan {input.plan} --task {wildcards.task} --out {output.product}"
        f" --replies {REPOSITORY / 'replies' / 'judge'}"
        " --operation {OPERATION}"
        " 2>&1 | tee {log}"
