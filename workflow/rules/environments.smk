# environment: the training environment of an era, built on first use. The folder itself is no
# declared output: Snakemake would delete a download of gigabytes before it looks for changes.

INDEX = CONFIG["hardware"].get("index", "")  # in place of every package index


rule environment:
    input:
        lambda wildcards: str(REPOSITORY / "workflow/envs" / f"{wildcards.era}.txt"),
    output:
        f"{specs.ENVIRONMENTS}/{{era}}.json",
    log:
        "results/logs/environments/{era}.log",
    params:
        python=lambda wildcards: next(
            era.python for era in REGISTRY.eras if era.id == wildcards.era
        ),
        index=f"--index {shlex.quote(INDEX)}" if INDEX else "",
    message:
        "environment {wildcards.era}"
    shell:
        f"speedrun environment --era {{wildcards.era}} --out {specs.ENVIRONMENTS}/{{wildcards.era}}"
        " --requirements {input} --python {params.python} {params.index}"
        " 2>&1 | tee {log}"
