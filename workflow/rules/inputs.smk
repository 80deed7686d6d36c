# What each rule reads, where a pattern is not enough.
from speedrun.adapters import retrieval, scheduling

SHARDS = f"results/shards/{CORPUS}"
DRAFT = f"{NODE}/draft"  # of a node with a preflight: its coder's first answer
START = f"{TRIAL}/start"  # of a cumulative trial: what it starts from


def text_files(wildcards):
    """The user's own files: an edited one makes the corpus again; missing.py names absent ones."""
    paths = [Path(path) for path in CONFIG["corpus"].get("paths", [])]
    folders = [file for path in paths if path.is_dir() for file in path.rglob("*")]
    return [str(path) for path in paths + folders if path.is_file()]


def source_facts(record):
    """What decides a fetched record's files."""
    entry = schema.to_dict(REGISTRY.record(record))
    return as_json({key: entry[key] for key in ("source", "sha256", "arguments")})


def from_upstream():
    """The first words of a shell line that reads a registry's records."""
    upstream = CONFIG["track"]["upstream"]
    words = ["--registry", str(REPOSITORY / CONFIG["track"]["registry"])]
    words += ["--mirror", upstream["mirror"]]
    words += ["--repo", upstream["repository"]] if upstream["repository"] else []
    return f"speedrun records {shlex.join(words)}"


# Filled in as a job runs: another mirror or address of the same records makes none of them again.
FROM_UPSTREAM = from_upstream() if REGISTRY else ""


def record_source(wildcards):
    folder = REPOSITORY / "tracks" / wildcards.track / "records" / wildcards.record
    return [str(path) for path in sorted(folder.glob("*")) if path.is_file()]


def hint_files(wildcards):
    folder = REPOSITORY / "hints" / wildcards.track / wildcards.task
    return [str(path) for path in sorted(folder.glob("*")) if path.is_file()]


def start_and_target(wildcards):
    return [
        f"results/records/{wildcards.track}/{record}/files/{CONFIG['track']['entry']}"
        for record in wildcards.task.split("-")
    ]


def earlier_analyses(wildcards):
    trial = trial_of(wildcards)
    scaffold = search.scaffold(trial.arm["scaffold"])
    earlier = search.earlier_nodes(scaffold, int(wildcards.node))
    seen = ["analysis.json", *(["digest_model.md"] if "summary" in trial.arm else [])]
    return [f"{trial.folder}/node_{node}/{name}" for node in earlier for name in seen]


def own_start(wildcards):
    """Of a cumulative trial: the link to the trial of the task before."""
    trial = trial_of(wildcards)
    return [f"{trial.folder}/start/chain.json"] if trial.start_from else []


def chain_source(wildcards):
    """The trial of the task before, and its own link: the chain may have ended there."""
    before = FOLDERS[trial_of(wildcards).start_from]
    link = [f"{before.folder}/start/chain.json"] if before.start_from else []
    return [*(f"{node}/analysis.json" for node in nodes_of(before)), *link]


def arm_documents(wildcards):
    """The documents that an arm's prompts are made from: an edited one is read again."""
    arm = trial_of(wildcards).arm
    folder = REPOSITORY / arm["retrieval"]["folder"] if "retrieval" in arm else None
    named = [REPOSITORY / path for path in arm.get("knowledge", [])]
    return [
        str(path) for path in named + (retrieval.documents(folder) if folder else [])
    ]


def checked_draft(wildcards):
    arm = trial_of(wildcards).arm
    return [f"{DRAFT}/preflight.json"] if "preflight" in arm else []


def preflight_s(wildcards):
    return trial_of(wildcards).arm["preflight"]["timeout_s"]


def asking(wildcards):
    return scheduling.asking(CONFIG, trial_of(wildcards).arm)


def start_words(wildcards):
    start = own_start(wildcards)
    return ["--start", str(Path(start[0]).parent)] if start else []


def more_words(wildcards, rule):
    """The words of generate's and draft's shell line that only some arms have."""
    words = start_words(wildcards)
    if oracle_target(wildcards):
        words += [
            "--private",
            f"results/tasks/{wildcards.track}/{wildcards.task}/private",
        ]
    if checked_draft(wildcards):
        option = "--draft" if rule == "generate" else "--out"
        words += [option, DRAFT.format(**dict(wildcards))]
    agent_is_installed = trial_of(wildcards).arm["coder"].get("requirements")
    if arm_documents(wildcards) or agent_is_installed:
        words += ["--repository", str(REPOSITORY)]
    return shlex.join(words)


def generations_left(wildcards):
    """A job's priority: the longest chain goes first, lest it be last alone."""
    trial = trial_of(wildcards)
    scaffold = search.scaffold(trial.arm["scaffold"])
    return search.generations_left(scaffold, int(wildcards.node), trial.n_nodes)


def root_analysis(wildcards):
    start = wildcards.task.split("-")[0]
    return f"{REFERENCES[wildcards.task][start][0]}/analysis.json"


def oracle_target(wildcards):
    """The private target, for the oracle alone."""
    if trial_of(wildcards).arm["coder"]["name"] != "oracle":
        return []
    return f"results/tasks/{wildcards.track}/{wildcards.task}/task.record.json"


def recorded_replies(wildcards):
    arm = trial_of(wildcards).arm
    if arm["coder"]["name"] != "replay":
        return []
    hints = "+".join(arm["hints"]) or "none"
    setting = (
        REPOSITORY / "replies" / "coder" / wildcards.track / wildcards.task / hints
    )
    folder = setting / arm["coder"].get("recording", "")
    pattern = f"s{wildcards.seed}_n{wildcards.node}_t*/reply.md"
    return [str(path) for path in sorted(folder.glob(pattern))]


# What only some tracks and corpora have: withheld probes, and packages to hide from a run.
OPTIONAL = {}
if CONFIG["track"]["probe_sets"]:
    OPTIONAL["probes"] = f"{SHARDS}/private/probes/set_00/contexts.npy"
    OPTIONAL["targets"] = f"{SHARDS}/private/probes/set_00/targets.npy"
if specs.corpus_kind(CONFIG) == "distributions":
    OPTIONAL["manifest"] = f"results/corpus/{CORPUS}/manifest.json"


def optional_inputs(*names):
    return {name: OPTIONAL[name] for name in names if name in OPTIONAL}


def optional_words(*names):
    """The words of a shell line for the same inputs."""
    return "".join(f" --{name} {{input.{name}}}" for name in optional_inputs(*names))


def environment(era):
    """What a run of an era needs built: nothing, or the mark of its environment."""
    built = specs.built_environment(CONFIG["hardware"], era)
    return [f"{built}.json"] if built else []


def environment_of_task(wildcards):
    return environment(SETTINGS[wildcards.task].era)


def environment_of_reference(wildcards):
    return environment(KEY_SETTINGS[wildcards.key].era)


# Not ancient(), though a wider sweep touches them: where tokenize itself must run again, Snakemake
# 9.27.1 then leaves out every job downstream and still exits with 0.
def shown_shards(setting):
    names = specs.shard_names(CONFIG, setting)
    return [f"{SHARDS}/meta.json", *(f"{SHARDS}/public/{name}" for name in names)]


def shards_of_task(wildcards):
    return shown_shards(SETTINGS[wildcards.task])


def shards_of_reference(wildcards):
    return shown_shards(KEY_SETTINGS[wildcards.key])


def judge_replies(wildcards):
    folder = REPOSITORY / "replies" / "judge" / wildcards.track / wildcards.task
    return [str(path) for path in sorted(folder.glob("*/reply.md"))]


def decisions(wildcards):
    """What people decided of the track's winners: a new word is read at once."""
    folder = REPOSITORY / "reviews" / wildcards.track
    return [str(path) for path in sorted(folder.glob("*.yaml"))]
