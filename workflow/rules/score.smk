# score: the fraction of the human speedup that each trial recovered.
rule score:
    input:
        plan=stage_plan("score"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        audit=f"results/{SWEEP}/audit/{{track}}/{{task}}.json",
        similarity=f"results/{SWEEP}/similarity/{{track}}/{{task}}.json",
        judge=f"results/{SWEEP}/judge/{{track}}/{{task}}.json",
    output:
        product=f"results/{SWEEP}/score/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/score/{{track}}/{{task}}.score.record.json",
    log:
        task_log("score"),
    params:
        version=versions.SCORE,
    message:
        "score {wildcards.track}/{wildcards.task}"
    shell:
        "speedrun score --plan {input.plan} --task {wildcards.task} --out {output.product}"
        " 2>&1 | tee {log}"
