# analyze: one run understood: outcome, loss curve, times, the probes' verdict.
ANALYZE = (
    "speedrun analyze --track {params.track:q}"
    + optional_words("targets")
    + f" --shards {SHARDS}"
    " --operation {OPERATION} --folder "
)


rule analyze:
    input:
        **optional_inputs("targets"),
        exit=f"{NODE}/run/exit.json",
        parent=f"{NODE}/parent.json",
        root=root_analysis,
        task="results/tasks/{track}/{task}/task.record.json",
    output:
        analysis=f"{NODE}/analysis.json",
        summary=f"{NODE}/summary.md",
        record=f"{NODE}/analyze.record.json",
    log:
        node_log("analyze"),
    priority: 1000  # before a training that could take its core: the next generation waits for it
    params:
        track=lambda wildcards: as_json(specs.track(CONFIG)),
        start=lambda wildcards: shlex.join(start_words(wildcards)),
        version=versions.ANALYZE,
    message:
        "analyze {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        ANALYZE + in_shell(NODE) + " --root-analysis {input.root} {params.start}"
        " --task results/tasks/{wildcards.track}/{wildcards.task} 2>&1 | tee {log}"


rule analyze_reference:
    input:
        **optional_inputs("targets"),
        exit=f"{REFERENCE}/run/exit.json",
    output:
        analysis=f"{REFERENCE}/analysis.json",
        summary=f"{REFERENCE}/summary.md",
        record=f"{REFERENCE}/analyze.record.json",
    log:
        reference_log("analyze"),
    params:
        track=lambda wildcards: as_json({**specs.track(CONFIG), "rules": []}),
        version=versions.ANALYZE,
    message:
        "analyze reference {wildcards.track}/{wildcards.record} run {wildcards.run}"
    shell:
        ANALYZE + in_shell(REFERENCE) + " 2>&1 | tee {log}"


# A target: the runs of the records alone, from which `speedrun references` tells what is measurable.
rule references:
    input:
        [
            f"{folder}/analysis.json"
            for folders in PLAN["references"].values()
            for folder in folders
        ],


# A target: every trial's nodes and nothing that compares them, for a cell of a large sweep.
rule trials:
    input:
        lambda wildcards: whole(
            [
                f"{folder}/analysis.json"
                for trial in TRIALS
                for folder in nodes_of(trial)
            ]
        ),
