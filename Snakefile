# The main job: `snakemake -c2`. The workflow itself is a table of contents in workflow/Snakefile.
include: "workflow/Snakefile"


rule all:
    default_target: True
    input:
        PRODUCTS,
