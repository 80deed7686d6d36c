# preflight: a short run of a draft, where a whole run would take place, before it is paid for.
rule preflight:
    input:
        **optional_inputs("probes", "manifest"),
        shards=shards_of_task,
        parent=f"{DRAFT}/parent.json",
        environment=environment_of_task,
    output:
        result=f"{DRAFT}/preflight.json",
        record=f"{DRAFT}/preflight.record.json",
    log:
        node_log("preflight"),
    threads: CONFIG["hardware"]["threads"]
    resources:
        **specs.gpu(CONFIG),
        device=1,
        mem_mb=CONFIG["hardware"]["memory_mb"],
        runtime=lambda wildcards: int(preflight_s(wildcards)) // 60 + 5,
    params:
        entry=CONFIG["track"]["entry"],
        spec=lambda wildcards: as_json(specs.train(CONFIG, SETTINGS[wildcards.task])),
        timeout_s=lambda wildcards: preflight_s(wildcards),
        version=versions.PREFLIGHT,
    message:
        "preflight {wildcards.task} {wildcards.arm} s{wildcards.seed} node {wildcards.node}"
    shell:
        f"speedrun preflight --shards {SHARDS}"
        " --entry {params.entry} --spec {params.spec:q} --timeout-s {params.timeout_s}"
        + optional_words("probes", "manifest")
        + " --folder "
        + in_shell(DRAFT)
        + " 2>&1 | tee {log}"
