# generate: the next candidate of a trial, from the public task and the trial's earlier analyses.
# Node i waits for all earlier generations, whose numbers do not depend on the budget; which
# parent it took is data in parent.json. So the search is a static DAG.
def earlier_analyses(wildcards):
    trial = trial_of(wildcards)
    scaffold = search.scaffold(trial.arm["scaffold"])
    earlier = search.earlier_nodes(scaffold, int(wildcards.node))
    return [f"{trial.folder}/node_{node}/analysis.json" for node in earlier]


def root_analysis(wildcards):
    return f"{PLAN['references'][wildcards.task.split('-')[0]][0]}/analysis.json"


def oracle_target(wildcards):
    """The private target, for the oracle alone."""
    if trial_of(wildcards).arm["coder"]["name"] != "oracle":
        return []
    return f"results/tasks/{wildcards.track}/{wildcards.task}/task.record.json"


def recorded_replies(wildcards):
    if trial_of(wildcards).arm["coder"]["name"] != "replay":
        return []
    hints = "+".join(trial_of(wildcards).arm["hints"]) or "none"
    folder = REPOSITORY / "replies" / "coder" / wildcards.track / wildcards.task / hints
    pattern = f"s{wildcards.seed}_n{wildcards.node}_t*/reply.md"
    return [str(path) for path in sorted(folder.glob(pattern))]


rule generate:
    input:
        public="results/tasks/{track}/{task}/public/task.json",
        root=root_analysis,
        earlier=earlier_analyses,
        target=oracle_target,
        replies=recorded_replies,
    output:
        parent=NODE + "/parent.json",
        record=NODE + "/generate.record.json",
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
        "{SPEEDRUN} generate --public results/tasks/{wildcards.track}/{wildcards.task}/public"
        " --trial "
        + in_shell(TRIAL)
        + " --node {wildcards.node} --seed {wildcards.seed} --root-analysis {input.root}"
        " --arm {params.arm:q} --replies {params.replies:q} {params.private}"
