# analyze: one run understood: outcome, loss curve, times, the probes' verdict.
ANALYZE = (
    "{SPEEDRUN} analyze --track {params.track:q} --targets {input.targets}"
    f" --shards results/shards/{CORPUS}"
)
TARGETS = f"results/shards/{CORPUS}/private/probes/set_00/targets.npy"


rule analyze:
    input:
        exit=NODE + "/run/exit.json",
        parent=NODE + "/parent.json",
        targets=TARGETS,
    output:
        analysis=NODE + "/analysis.json",
        summary=NODE + "/summary.md",
        record=NODE + "/analyze.record.json",
    params:
        track=lambda wildcards: as_json(specs.track(CONFIG)),
        version=versions.ANALYZE,
    message:
        "analyze {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        ANALYZE + " --folder " + in_shell(NODE)


rule analyze_reference:
    input:
        exit=REFERENCE + "/run/exit.json",
        targets=TARGETS,
    output:
        analysis=REFERENCE + "/analysis.json",
        summary=REFERENCE + "/summary.md",
        record=REFERENCE + "/analyze.record.json",
    params:
        track=lambda wildcards: as_json(specs.track(CONFIG)),
        version=versions.ANALYZE,
    message:
        "analyze reference {wildcards.track}/{wildcards.record} run {wildcards.run}"
    shell:
        ANALYZE + " --folder " + in_shell(REFERENCE)
