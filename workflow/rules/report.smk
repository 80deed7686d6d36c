# report: the tables, the figures and one self-contained page.
rule report:
    input:
        plan=PLAN_FILE,
        products=[
            f"results/{SWEEP}/{stage}/{TRACK}/{task}.json"
            for stage in ("similarity", "judge", "review", "audit", "score")
            for task in TASKS
        ],
        analyses=lambda wildcards: whole(
            [path for task in TASKS for path in analyses_of(task)]
        ),
    output:
        page=report(
            f"results/{SWEEP}/report/index.html",
            caption="../report/index.rst",
            category="Results",
        ),
        scores=report(
            f"results/{SWEEP}/report/scores.csv",
            caption="../report/scores.rst",
            category="Results",
        ),
        tables=[
            f"results/{SWEEP}/report/{name}.csv"
            for name in ("arms", "curves", "nodes")
        ],
        table=f"results/{SWEEP}/report/table.txt",
        record=f"results/{SWEEP}/report/report.record.json",
    log:
        f"results/logs/{SWEEP}/report.log",
    params:
        version=versions.REPORT,
    message:
        f"report {SWEEP}"
    shell:
        f"speedrun report --plan {{input.plan}} --out results/{SWEEP}/report"
        " 2>&1 | tee {log}"
