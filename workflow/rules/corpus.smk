# corpus: what a track's models learn, checked against its digests. Its kind decides what is made.
KIND = specs.corpus_kind(CONFIG)
MANIFEST = "results/corpus/{corpus}/manifest.json"
# Only installed packages are copied into documents.jsonl; the other kinds are read where they lie.
DOCUMENTS = (
    "results/corpus/{corpus}/documents.jsonl" if KIND == "distributions" else MANIFEST
)


rule corpus:
    input:
        text_files,
    output:
        **{"documents": DOCUMENTS} if KIND == "distributions" else {},
        manifest=MANIFEST,
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
