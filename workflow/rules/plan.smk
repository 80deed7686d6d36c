# From Hydra's values to names: what this invocation will make. No job runs here.
import atexit
import shlex
import sys
import time
from pathlib import Path

REPOSITORY = Path(workflow.basedir)
LOCK = Path("results/.lock")
sys.path.insert(0, str(REPOSITORY / "src"))

from speedrun import files, measurable, plan, schema, search, specs, versions
from speedrun.adapters import device_hours, missing, task_table
from speedrun.adapters import sweep as sweeps
from speedrun.adapters import workflow as jobs


def say_missing():
    """At the end of a dry run: Snakemake calls no handler there, and its jobs would scroll it away."""
    missing.say_not_run(CONFIG)
    missing.say(CONFIG, REGISTRY, jobs.on_this_machine(workflow))


try:
    if workflow.is_main_process:
        jobs.check_words(sys.argv[1:])
    CONFIG = sweeps.load(
        REPOSITORY / "config",
        str(config.get("sweep", "quickstart")),
        sweeps.as_overrides(config.get("overrides", [])),
    )
    sweeps.check_inputs(REPOSITORY, CONFIG)
    REGISTRY = task_table.registry_of(REPOSITORY, CONFIG["track"])
    if workflow.is_main_process:
        # No job runs here, nor ever in a dry run or lint: another workflow's plan must stay.
        jobs.check_free(LOCK)
        if workflow.output_settings and workflow.output_settings.dryrun:
            atexit.register(say_missing)
        else:
            missing.say_not_run(CONFIG)
except files.SpeedrunError as error:
    sys.exit(f"speedrun: {error}")

STARTED_S = time.time()
SWEEP = CONFIG["name"]
TRACK = CONFIG["track"]["name"]
CORPUS = CONFIG["corpus"]["name"]
PLAN = plan.as_dict(CONFIG)
TASKS = [entry["task"] for entry in PLAN["tasks"]]
TRIALS = plan.trials(CONFIG)
REFERENCES = {task.name: plan.references(CONFIG, task) for task in plan.tasks(CONFIG)}
# Filled in as a job runs: another cap, endpoint or price makes no finished node again.
OPERATION = shlex.quote(files.canonical_json(specs.operation(CONFIG)))
# What a task's runs share (environment, data), and what a reference's do, by its key.
SETTINGS = {task.name: task.setting for task in plan.tasks(CONFIG)}
KEY_SETTINGS = {
    plan.reference_key(CONFIG, setting): setting for setting in SETTINGS.values()
}
FOLDERS = {trial.folder: trial for trial in TRIALS}
PLAN_FILE = f"results/{SWEEP}/plan.json"
STAGE_PLAN = f"results/{SWEEP}/plan/{{stage}}/{{track}}/{{task}}.json"
TRIAL = "results/trials/{track}/{task}/{arm}/s{seed}"
NODE = f"{TRIAL}/node_{{node}}"
REFERENCE = "results/references/{track}/{hardware}/{record}/{key}/run_{run}"

if workflow.is_main_process:
    jobs.prepare_jobs()
    sweeps.write_plan(PLAN, PLAN_FILE, STAGE_PLAN)

PRODUCTS = [
    f"results/{SWEEP}/report/index.html",
    f"results/{SWEEP}/publish/published.json",
]


def begin():
    """Before the first job: lock the folder, and stop if a job would run in vain.

    Until the lock is held another invocation may have written its own plan: ours is put back.
    """
    try:
        jobs.lock(LOCK)
        sweeps.write_plan(PLAN, PLAN_FILE, STAGE_PLAN)
        rules_to_run = {job.rule.name for job in workflow.dag.needrun_jobs()}
        missing.require(CONFIG, REGISTRY, rules_to_run, workflow.local_exec)
        if SWEEP == CONFIG["whole"]:  # a cell does not know what the others hold
            nodes = [Path(node) for trial in TRIALS for node in nodes_of(trial)]
            folders = [Path("results/trials", TRACK, task) for task in TASKS]
            device_hours.let_go(SWEEP, folders, nodes)
    except files.SpeedrunError as error:
        sys.exit(f"speedrun: {error}")


def in_shell(pattern):
    """A path pattern as a shell line names it: {track} becomes {wildcards.track}."""
    return pattern.replace("{", "{wildcards.")


def stage_plan(stage):
    return STAGE_PLAN.replace("{stage}", stage)


def node_log(stage):
    return (
        f"results/logs/{stage}/{{track}}/{{task}}/{{arm}}/s{{seed}}/node_{{node}}.log"
    )


def reference_log(stage):
    return f"results/logs/{stage}/references/{{track}}/{{hardware}}/{{record}}/{{key}}/run_{{run}}.log"


def task_log(stage):
    return f"results/logs/{SWEEP}/{stage}/{{track}}/{{task}}.log"


def as_json(value):
    return files.canonical_json(value)


def trial_of(wildcards):
    folder = TRIAL.format(
        **{key: wildcards[key] for key in ("track", "task", "arm", "seed")}
    )
    return FOLDERS[folder]


def nodes_of(trial):
    """The folders of a trial's nodes; node 0 is the start record's first reference run."""
    return [f"{trial.folder}/node_{node}" for node in range(1, trial.n_nodes + 1)]


def trials_of(task):
    return [trial for trial in TRIALS if trial.task == task]


def analyses_of(task):
    """Everything that a task's products are made from: its nodes and its reference runs."""
    nodes = [folder for trial in trials_of(task) for folder in nodes_of(trial)]
    references = [folder for folders in REFERENCES[task].values() for folder in folders]
    return [f"{folder}/analysis.json" for folder in nodes + references]


def whole(paths):
    """Of what needs every node of the sweep: its inputs, unless they are too many to plan at once."""
    try:
        if workflow.is_main_process:
            jobs.check_size(CONFIG, bool(config.get("force")))
    except files.SpeedrunError as error:
        atexit.unregister(say_missing)
        sys.exit(f"speedrun: {error}")
    return paths


def show_table():
    """Print the table if this workflow made or published it: a partial target did neither."""
    table = Path(f"results/{SWEEP}/report/table.txt")
    published = Path(f"results/{SWEEP}/publish/published.json")
    if table.is_file() and jobs.made_since(STARTED_S, table, published):
        print(table.read_text(encoding="utf-8"))
        print(f"report: results/{SWEEP}/report/index.html    MLflow: make ui")
