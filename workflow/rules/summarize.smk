# summarize: a finished run in the words of the arm's model, for the prompts of later generations.
rule summarize:
    input:
        analysis=f"{NODE}/analysis.json",
        exit=f"{NODE}/run/exit.json",
        public="results/tasks/{track}/{task}/public/task.json",
    output:
        summary=f"{NODE}/digest_model.md",
        calls=f"{NODE}/digest_model.calls.jsonl",
        record=f"{NODE}/summarize.record.json",
    log:
        node_log("summarize"),
    resources:
        busy_cores=0,
        waiting=1,
    params:
        arm=lambda wildcards: as_json(trial_of(wildcards).arm),
        version=versions.SUMMARIZE,
    message:
        "summarize {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        "speedrun summarize --public results/tasks/{wildcards.track}/{wildcards.task}/public"
        " --arm {params.arm:q} --seed {wildcards.seed} --operation {OPERATION} --folder "
        + in_shell(NODE)
        + " 2>&1 | tee {log}"
