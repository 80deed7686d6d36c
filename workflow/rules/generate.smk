# generate: the next candidate of a trial, from the public task and the trial's earlier analyses.
# Node i waits for all earlier generations, whose numbers do not depend on the budget; which
# parent it took is data in parent.json. So the search is a static DAG.
rule generate:
    input:
        public="results/tasks/{track}/{task}/public/task.json",
        root=root_analysis,
        earlier=earlier_analyses,
        target=oracle_target,
        replies=recorded_replies,
    output:
        parent=f"{NODE}/parent.json",
        record=f"{NODE}/generate.record.json",
    log:
        node_log("generate"),
    params:
        arm=lambda wildcards: as_json(trial_of(wildcards).arm),
        private=lambda wildcards: (
            f"--private results/tasks/{wildcards.track}/{wildcards.task}/private"
            if oracle_target(wildcards)
            else ""
        ),
        replies=str(REPOSITORY / "replies" / "coder"),
        version=versions.GENERATE,
    message:
        "generate {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        "speedrun generate --public results/tasks/{wildcards.track}/{wildcards.task}/public"
        " --trial "
        + in_shell(TRIAL)
        + " --node {wildcards.node} --seed {wildcards.seed} --root-analysis {input.root}"
        " --arm {params.arm:q} --replies {params.replies:q} {params.private}"
        " 2>&1 | tee {log}"
