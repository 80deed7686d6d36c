# publish: mirror every record of the sweep into MLflow, with one writer.
rule publish:
    input:
        plan=PLAN_FILE,
        report=f"results/{SWEEP}/report/report.record.json",
    output:
        published=f"results/{SWEEP}/publish/published.json",
    log:
        f"results/logs/{SWEEP}/publish.log",
    params:
        uri=CONFIG["tracking"]["uri"],
        version=versions.PUBLISH,
    message:
        f"publish {SWEEP} to MLflow"
    shell:
        "speedrun publish --plan {input.plan} --uri {params.uri:q} --out {output.published}"
        " 2>&1 | tee {log}"
