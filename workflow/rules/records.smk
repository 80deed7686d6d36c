# records: the source files of each record of a track.
rule records:
    input:
        record_source,
    output:
        entry=f"results/records/{{track}}/{{record}}/files/{CONFIG['track']['entry']}",
        record="results/records/{track}/{record}/records.record.json",
    log:
        "results/logs/records/{track}/{record}.log",
    params:
        source=lambda wildcards: str(
            REPOSITORY / "tracks" / wildcards.track / "records"
        ),
        entry=CONFIG["track"]["entry"],
    message:
        "records {wildcards.track}/{wildcards.record}"
    shell:
        "speedrun records --source {params.source:q} --record {wildcards.record}"
        " --entry {params.entry} --out results/records/{wildcards.track}/{wildcards.record}"
        " 2>&1 | tee {log}"
