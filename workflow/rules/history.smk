# history: the record chain of nanogpt as evidence of its own, from its registry and labels alone.
# It belongs to no sweep: nothing is fetched, run or asked for.
HISTORY_TRACK = "nanogpt"
HISTORY = f"results/history/{HISTORY_TRACK}"
HISTORY_LABELS = REPOSITORY / "tracks" / HISTORY_TRACK / "classification"


rule history:
    input:
        registry=str(REPOSITORY / "tracks" / HISTORY_TRACK / "registry.yaml"),
        labels=sorted(
            str(path) for path in HISTORY_LABELS.glob("*") if path.suffix != ".md"
        ),
        page=str(REPOSITORY / "docs/history.md"),
        hints=sorted(
            str(path)
            for path in (REPOSITORY / "hints" / HISTORY_TRACK).glob(
                "*/l2_description.md"
            )
        ),
    output:
        page=f"{HISTORY}/history.md",
        records=directory(f"{HISTORY}/records"),
        figures=directory(f"{HISTORY}/figures"),
        tables=directory(f"{HISTORY}/tables"),
        record=f"{HISTORY}/history.record.json",
    log:
        f"results/logs/history/{HISTORY_TRACK}.log",
    params:
        version=versions.HISTORY,
    message:
        f"history {HISTORY_TRACK}"
    shell:
        f"speedrun history --track {HISTORY_TRACK} --repository {shlex.quote(str(REPOSITORY))} --out {HISTORY}"
        " 2>&1 | tee {log}"


# The same for this sweep: what it reached, by the kind of change that the human made.
rule history_sweep:
    input:
        report=[f"results/{SWEEP}/report/{name}.csv" for name in ("scores", "nodes")],
    output:
        [
            f"results/{SWEEP}/history/{name}.csv"
            for name in ("fsr", "contamination", "recall", "failures")
        ],
        record=f"results/{SWEEP}/history/join.history.record.json",
    log:
        f"results/logs/{SWEEP}/history.log",
    params:
        version=versions.HISTORY,
    message:
        f"history of sweep {SWEEP}"
    shell:
        f"speedrun history --track {TRACK} --repository {shlex.quote(str(REPOSITORY))}"
        f" --sweep results/{SWEEP} --out results/{SWEEP}/history"
        " 2>&1 | tee {log}"
