# tokenize: shards in the speedrun's .bin format, a private hold-out shard, withheld probes.
PROBES = "results/shards/{{corpus}}/private/probes/set_{set:02d}"
PROBE_SETS = range(CONFIG["track"]["probe_sets"])


rule tokenize:
    input:
        documents=DOCUMENTS,
    output:
        meta="results/shards/{corpus}/meta.json",
        shards=expand(
            "results/shards/{{corpus}}/public/{name}", name=specs.shard_names(CONFIG)
        ),
        contexts=expand(f"{PROBES}/contexts.npy", set=PROBE_SETS),
        targets=expand(f"{PROBES}/targets.npy", set=PROBE_SETS),
        record="results/shards/{corpus}/tokenize.record.json",
    log:
        "results/logs/tokenize/{corpus}.log",
    params:
        spec=lambda wildcards: as_json(specs.tokenize(CONFIG)),
        version=versions.TOKENIZE,
    message:
        "tokenize {wildcards.corpus}: make the shards"
    shell:
        "speedrun tokenize --documents {input.documents} --spec {params.spec:q}"
        " --out results/shards/{wildcards.corpus}"
        " 2>&1 | tee {log}"
