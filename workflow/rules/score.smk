# score: the fraction of the human speedup that each trial recovered.
# The list of measurable tasks that was frozen for this hardware, if any: `speedrun references`.
FROZEN = measurable.frozen_path(REPOSITORY / "tracks", TRACK, PLAN["hardware"])
FROZEN_INPUT = {"frozen": str(FROZEN)} if FROZEN.is_file() else {}


rule score:
    input:
        **FROZEN_INPUT,
        plan=stage_plan("score"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        review=f"results/{SWEEP}/review/{{track}}/{{task}}.json",
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
        + (" --frozen {input.frozen:q}" if FROZEN_INPUT else "")
        + " 2>&1 | tee {log}"
