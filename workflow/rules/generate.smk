# generate: the next candidate of a trial, from the public task and the trial's earlier analyses.
# Node i waits for all earlier generations, whose numbers do not depend on the budget; which
# parent it took is data in parent.json. So the search is a static DAG.
GENERATE = (
    "speedrun generate --public results/tasks/{wildcards.track}/{wildcards.task}/public"
    " --trial "
    + in_shell(TRIAL)
    + " --node {wildcards.node} --seed {wildcards.seed} --root-analysis {input.root}"
    " --arm {params.arm:q} --replies {params.replies:q} --operation {OPERATION}"
    " {params.more} 2>&1 | tee {log}"
)


rule generate:
    input:
        public="results/tasks/{track}/{task}/public/task.json",
        root=root_analysis,
        earlier=earlier_analyses,
        target=oracle_target,
        replies=recorded_replies,
        start=own_start,
        documents=arm_documents,
        draft=checked_draft,
    output:
        parent=f"{NODE}/parent.json",
        record=f"{NODE}/generate.record.json",
    log:
        node_log("generate"),
    priority: generations_left
    resources:
        busy_cores=lambda wildcards: asking(wildcards)[scheduling.BUSY],
        waiting=lambda wildcards: asking(wildcards)[scheduling.WAITING],
    params:
        arm=lambda wildcards: as_json(trial_of(wildcards).arm),
        more=lambda wildcards: more_words(wildcards, "generate"),
        replies=str(REPOSITORY / "replies" / "coder"),
        version=versions.GENERATE,
    message:
        "generate {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        GENERATE


# Of arms with a preflight: the first answer, which generate takes over or has mended once.
rule draft:
    input:
        public="results/tasks/{track}/{task}/public/task.json",
        root=root_analysis,
        earlier=earlier_analyses,
        start=own_start,
        documents=arm_documents,
    output:
        parent=f"{DRAFT}/parent.json",
        record=f"{DRAFT}/generate.record.json",
    log:
        node_log("draft"),
    resources:
        busy_cores=lambda wildcards: asking(wildcards)[scheduling.BUSY],
        waiting=lambda wildcards: asking(wildcards)[scheduling.WAITING],
    params:
        arm=lambda wildcards: as_json(trial_of(wildcards).arm),
        more=lambda wildcards: more_words(wildcards, "draft"),
        replies=str(REPOSITORY / "replies" / "coder"),
        version=versions.GENERATE,
    message:
        "draft {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        GENERATE
