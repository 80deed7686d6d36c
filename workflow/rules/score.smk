# score: the fraction of the human speedup that each trial recovered.
rule score:
    input:
        plan=STAGE_PLAN.replace("{stage}", "score").replace(TRACK, "{track}"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        audit=f"results/{SWEEP}/audit/{{track}}/{{task}}.json",
        similarity=f"results/{SWEEP}/similarity/{{track}}/{{task}}.json",
        judge=f"results/{SWEEP}/judge/{{track}}/{{task}}.json",
    output:
        product=f"results/{SWEEP}/score/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/score/{{track}}/{{task}}.score.record.json",
    params:
        version=versions.SCORE,
    message:
        "score {wildcards.track}/{wildcards.task}"
    shell:
        "{SPEEDRUN} score --plan {input.plan} --task {wildcards.task} --out {output.product}"
