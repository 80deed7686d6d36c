# publish: mirror every record of the sweep into MLflow, with one writer.
rule publish:
    input:
        plan=PLAN_FILE,
        report=f"results/{SWEEP}/report/report.record.json",
    output:
        published=f"results/{SWEEP}/publish/published.json",
    params:
        uri=CONFIG["tracking"]["uri"],
        version=versions.PUBLISH,
    message:
        "publish {SWEEP} to MLflow"
    shell:
        "{SPEEDRUN} publish --plan {input.plan} --uri {params.uri:q} --out {output.published}"
