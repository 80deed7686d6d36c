# chain: what a cumulative trial starts from, its own best solution of the task before. Where there
# is none, start/chain.json says so, and no node is asked for or run.
rule chain:
    input:
        chain_source,
    output:
        link=f"{START}/chain.json",
        record=f"{START}/chain.record.json",
    log:
        "results/logs/chain/{track}/{task}/{arm}/s{seed}.log",
    params:
        source=lambda wildcards: trial_of(wildcards).start_from,
        nodes=lambda wildcards: FOLDERS[trial_of(wildcards).start_from].n_nodes,
        version=versions.CHAIN,
    message:
        "chain {wildcards.task} {wildcards.arm} s{wildcards.seed}: from {params.source}"
    shell:
        "speedrun chain --source {params.source:q} --nodes {params.nodes} --out "
        + in_shell(START)
        + " 2>&1 | tee {log}"
