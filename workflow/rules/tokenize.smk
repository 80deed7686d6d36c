# tokenize: shards in the speedrun's .bin format, a private hold-out shard, withheld probes.
rule tokenize:
    input:
        documents="results/corpus/{corpus}/documents.jsonl",
    output:
        meta="results/shards/{corpus}/meta.json",
        train="results/shards/{corpus}/public/train_000000.bin",
        val="results/shards/{corpus}/public/val_000000.bin",
        contexts=expand(
            "results/shards/{{corpus}}/private/probes/set_{set:02d}/contexts.npy",
            set=range(CONFIG["track"]["probe_sets"]),
        ),
        targets=expand(
            "results/shards/{{corpus}}/private/probes/set_{set:02d}/targets.npy",
            set=range(CONFIG["track"]["probe_sets"]),
        ),
        record="results/shards/{corpus}/tokenize.record.json",
    log:
        "results/logs/tokenize/{corpus}.log",
    params:
        spec=lambda wildcards: as_json(specs.tokenize(CONFIG)),
        version=versions.TOKENIZE,
    message:
        "tokenize {wildcards.corpus}: train the tokeniser and write the shards"
    shell:
        "speedrun tokenize --documents {input.documents} --spec {params.spec:q}"
        " --out results/shards/{wildcards.corpus}"
        " 2>&1 | tee {log}"
