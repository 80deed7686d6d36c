# records: the source files of each record of a track.
def record_source(wildcards):
    folder = REPOSITORY / "tracks" / wildcards.track / "records" / wildcards.record
    return [str(path) for path in sorted(folder.glob("*")) if path.is_file()]


rule records:
    input:
        record_source,
    output:
        entry=f"results/records/{{track}}/{{record}}/files/{CONFIG['track']['entry']}",
        record="results/records/{track}/{record}/records.record.json",
    params:
        source=lambda wildcards: str(
            REPOSITORY / "tracks" / wildcards.track / "records"
        ),
        entry=CONFIG["track"]["entry"],
    message:
        "records {wildcards.track}/{wildcards.record}"
    shell:
        "{SPEEDRUN} records --source {params.source:q} --record {wildcards.record}"
        " --entry {params.entry} --out results/records/{wildcards.track}/{wildcards.record}"
