# records: the source files of each record of a track: ours, or fetched from upstream.
if "registry" in CONFIG["track"]:

    localrules:
        upstream,

    # One fetch of all sources into a mirror that is kept in store/; this file says that it was
    # made. A record that the registry adds later is fetched by its own job.
    rule upstream:
        output:
            touch("results/upstream/{track}/fetched"),
        log:
            "results/logs/upstream/{track}.log",
        message:
            f"upstream {{wildcards.track}}: fetch commit {REGISTRY.upstream.commit[:12]}"
        shell:
            "{FROM_UPSTREAM} --track {wildcards.track} --fetch 2>&1 | tee {log}"

    # A record's digests say whether it is the same, whatever commit or place it is fetched from.
    rule records:
        input:
            rules.upstream.output,
        output:
            entry=f"results/records/{{track}}/{{record}}/files/{CONFIG['track']['entry']}",
            record="results/records/{track}/{record}/records.record.json",
        log:
            "results/logs/records/{track}/{record}.log",
        params:
            entry=lambda wildcards: source_facts(wildcards.record),
        message:
            "records {wildcards.track}/{wildcards.record}"
        shell:
            "{FROM_UPSTREAM} --track {wildcards.track} --record {wildcards.record}"
            " --out results/records/{wildcards.track}/{wildcards.record}"
            " 2>&1 | tee {log}"

else:

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
