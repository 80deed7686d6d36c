# analyze: one run understood: outcome, loss curve, times, the probes' verdict.
ANALYZE = (
    "speedrun analyze --track {params.track:q} --targets {input.targets}"
    f" --shards {SHARDS} --folder "
)
TARGETS = f"results/shards/{CORPUS}/private/probes/set_00/targets.npy"


rule analyze:
    input:
        exit=f"{NODE}/run/exit.json",
        parent=f"{NODE}/parent.json",
        targets=TARGETS,
    output:
        analysis=f"{NODE}/analysis.json",
        summary=f"{NODE}/summary.md",
        record=f"{NODE}/analyze.record.json",
    log:
        node_log("analyze"),
    params:
        track=lambda wildcards: as_json(specs.track(CONFIG)),
        version=versions.ANALYZE,
    message:
        "analyze {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        ANALYZE + in_shell(NODE) + " 2>&1 | tee {log}"


rule analyze_reference:
    input:
        exit=f"{REFERENCE}/run/exit.json",
        targets=TARGETS,
    output:
        analysis=f"{REFERENCE}/analysis.json",
        summary=f"{REFERENCE}/summary.md",
        record=f"{REFERENCE}/analyze.record.json",
    log:
        reference_log("analyze"),
    params:
        track=lambda wildcards: as_json(specs.track(CONFIG)),
        version=versions.ANALYZE,
    message:
        "analyze reference {wildcards.track}/{wildcards.record} run {wildcards.run}"
    shell:
        ANALYZE + in_shell(REFERENCE) + " 2>&1 | tee {log}"
