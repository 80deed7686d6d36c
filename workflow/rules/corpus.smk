# corpus: the text, checked against its pinned versions and digests.
rule corpus:
    output:
        documents="results/corpus/{corpus}/documents.jsonl",
        manifest="results/corpus/{corpus}/manifest.json",
        record="results/corpus/{corpus}/corpus.record.json",
    log:
        "results/logs/corpus/{corpus}.log",
    params:
        spec=lambda wildcards: as_json(specs.corpus(CONFIG)),
        version=versions.CORPUS,
    message:
        "corpus {wildcards.corpus}: read and check the sources"
    shell:
        "speedrun corpus --spec {params.spec:q} --out results/corpus/{wildcards.corpus}"
        " 2>&1 | tee {log}"
