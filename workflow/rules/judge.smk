# judge: which of the human's changes each winner made, change by change.
def judge_replies(wildcards):
    folder = REPOSITORY / "replies" / "judge" / wildcards.track / wildcards.task
    return [str(path) for path in sorted(folder.glob("*/reply.md"))]


rule judge:
    input:
        plan=STAGE_PLAN.replace("{stage}", "judge").replace(TRACK, "{track}"),
        analyses=lambda wildcards: analyses_of(wildcards.task),
        task="results/tasks/{track}/{task}/task.record.json",
        replies=judge_replies,
    output:
        product=f"results/{SWEEP}/judge/{{track}}/{{task}}.json",
        record=f"results/{SWEEP}/judge/{{track}}/{{task}}.judge.record.json",
    params:
        version=versions.JUDGE,
    message:
        "judge {wildcards.track}/{wildcards.task}"
    shell:
        "{SPEEDRUN} judge --plan {input.plan} --task {wildcards.task} --out {output.product}"
        f" --replies {REPOSITORY / 'replies' / 'judge'}"
