"""Apptainer's command line, its errors, and runs through a stand-in for it.

The stand-in understands the options that we give and builds their container with bubblewrap: what
is tested is our side (binds, variables, the report that the container stands), not Apptainer.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from running import make_spec
from speedrun.adapters.coders import box
from speedrun.files import SpeedrunError
from speedrun.runner import apptainer, sandbox, workplace
from speedrun.runner.sandbox import Interpreter
from speedrun.schema import RunExit
from train_bench import LINE, Bench

STAND_IN = """#!{python}
import os, sys
words, binds, where, home = sys.argv[1:], [], "/", "/"
if {failure!r}:
    sys.exit({failure!r})
assert words.pop(0) == "exec"
left_out = {lacking!r}
with_value = ("--network", "--no-mount", "--home", "--workdir", "--pwd", "--bind")
while words[0].startswith("--"):
    option = words.pop(0)
    value = words.pop(0) if option in with_value else ""
    if option == "--no-mount" and "home" in value.split(","):
        left_out = "home"
    elif option == "--home":
        home = value.split(":")[1]
        binds += [] if left_out == "home" else ["--bind", *value.split(":")]
    elif option == "--bind":
        source, place, *mode = value.split(":")
        kept = not (left_out and left_out in place)
        binds += ["--ro-bind" if mode == ["ro"] else "--bind", source, place] * kept
    elif option == "--pwd":
        where = value if left_out != "home" else "/"  # of what is not there it only warns
    elif option == "--workdir":
        binds += ["--bind", value, "/tmp"]
image = words.pop(0)
assert os.path.exists(image), image
mark = "APPTAINERENV_"
inside = [(name[len(mark):], text) for name, text in os.environ.items() if name.startswith(mark)]
inside.append(("HOME", home))
variables = [word for pair in inside for word in ("--setenv", *pair)]
system = ["--ro-bind", "/usr", "/usr"]
for name in ("bin", "sbin", "lib", "lib64"):
    system += ["--symlink", "usr/" + name, "/" + name]
own = "--unshare-all --die-with-parent --proc /proc --dev /dev --clearenv --uid 65534".split()
os.execv({bwrap!r}, ["bwrap", *own, *system, *binds, *variables, "--chdir", where, "--", *words])
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    install(tmp_path, monkeypatch)
    path = tmp_path / "image.sif"
    path.write_text("not read by the stand-in")
    return str(path)


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failure: str = "", lacking: str = ""
) -> None:
    """Put the stand-in where apptainer is looked for.

    ``failure`` is all that it says then; what has ``lacking`` in its name it leaves out.
    """
    values = {"python": sys.executable, "bwrap": sandbox.find_bwrap()}
    values |= {"failure": failure, "lacking": lacking}
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "apptainer").write_text(STAND_IN.format(**values))
    (folder / "bin" / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(apptainer, "_user", lambda: 1000)
    monkeypatch.setattr(apptainer, "find_apptainer", apptainer.find_apptainer.__wrapped__)


def run(bench: Bench, image: str, code: str) -> RunExit:
    return bench.train(code, sandbox="apptainer", image=image, disk_mb=20)


def test_a_run_has_its_data_its_variables_and_its_clock(
    bench: Bench, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEEDRUN_TEST_SECRET", "hunter2")
    code = (
        "import os\n"
        "print(dict(os.environ))\n"
        "print(len(open('data/val_000000.bin', 'rb').read()), os.getcwd())\n"
        "try: open('data/val_000000.bin', 'wb')\n"
        "except OSError as error: print(error.strerror)\n"
        "open('probe_logits.npy', 'wb').write(b'logits'); open('/tmp/x', 'w').write('x')\n"
        f"print({LINE!r})\n"
    )
    ended = run(bench, image, code)
    variables, *rest = bench.lines()
    folder = sandbox.work_folder(sandbox.interpreter())
    assert rest == [f"1030 {folder}", "Read-only file system", LINE]
    seen = ast.literal_eval(variables)
    assert (seen["HOME"], seen["SPEEDRUN_SEED"]) == (folder, "1")
    assert "SPEEDRUN_TEST_SECRET" not in seen
    assert (ended.reason, ended.exit_code, ended.sandbox) == ("exited", 0, "apptainer")
    assert ended.cpu_s is not None
    assert [read.opens for read in ended.reads or ()] == [0, 1, 0]
    assert (bench.out / "probe_logits.npy").read_bytes() == b"logits"


@pytest.mark.parametrize("status", [3, 255])
def test_a_scripts_own_failure_is_data(bench: Bench, image: str, status: int) -> None:
    ended = run(bench, image, f"print('FATAL: no loop devices'); raise SystemExit({status})")
    assert (ended.ran, ended.reason, ended.exit_code) == (True, "exited", status)


def test_a_container_that_breaks_between_plan_and_run_is_our_failure(
    bench: Bench, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = apptainer.find_apptainer(image)
    monkeypatch.setattr(apptainer, "find_apptainer", lambda image: found)
    install_path = Path(found)
    install_path.write_text("#!/bin/sh\necho 'FATAL: no loop devices' >&2\nexit 255\n")
    with pytest.raises(SpeedrunError, match="code 255 before the run: FATAL: no loop devices"):
        run(bench, image, "print('x')")
    assert not (bench.out / "exit.json").exists()


@pytest.mark.parametrize("lacking", ["home", "val_000000.bin", sys.base_prefix])
def test_a_container_that_lacks_something_is_our_failure(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """Apptainer leaves out what it cannot mount, with a warning."""
    install(tmp_path, monkeypatch, lacking=lacking)
    image = tmp_path / "image.sif"
    image.touch()
    with pytest.raises(SpeedrunError, match="before the run: the container lacks "):
        run(bench, str(image), "print('x')")
    assert not (bench.out / "exit.json").exists()


def test_a_container_that_does_not_come_up_in_time_is_our_failure(
    bench: Bench, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = apptainer.find_apptainer(image)
    monkeypatch.setattr(apptainer, "find_apptainer", lambda image: found)
    Path(found).write_text("#!/bin/sh\necho 'INFO: unpacking'\nsleep 60\n")
    with pytest.raises(SpeedrunError, match="before the run: INFO: unpacking"):
        bench.train("print('x')", sandbox="apptainer", image=image, timeout_s=1)


def test_lies_into_the_report_reach_nobody(bench: Bench, image: str) -> None:
    code = (
        "import json, os, sys\n"
        "try:\n"  # refused as soon as the harness has had its report
        "    pipe = os.open('/started', os.O_WRONLY | os.O_NONBLOCK)\n"
        "    os.write(pipe, json.dumps({'child-pid': 1, 'exit-code': 0}).encode() + b'\\n')\n"
        "    while True: os.write(pipe, b'x' * 65536)\n"
        "except OSError: pass\n"
        "raise SystemExit(4)\n"
    )
    ended = run(bench, image, code)
    assert (ended.reason, ended.exit_code) == ("exited", 4)


@pytest.mark.parametrize("place", [".", "/tmp"])
def test_the_disk_cap_counts_both_folders(bench: Bench, image: str, place: str) -> None:
    code = (
        f"import os, time\nfor n in range(40): open({place!r} + f'/{{n}}', 'wb')"
        ".write(bytes(2**20))\ntime.sleep(15)"
    )
    assert run(bench, image, code).reason == "disk_flood"


def test_the_flags_contain_and_the_binds_are_read_only(tmp_path: Path) -> None:
    place = workplace.Place(tmp_path, {"f.bin": tmp_path / "f"}, False)
    for folder in (place.work, place.scratch):
        folder.mkdir()
    spec = make_spec(sandbox="apptainer", image="docker://an/image")
    words = apptainer.command("/x/apptainer", ["python"], sandbox.interpreter(), place, spec, 1)
    said = list(words.words)
    binds = [said[index + 1] for index, word in enumerate(said) if word == "--bind"]
    writable = [bind for bind in binds if not bind.endswith(":ro")]
    assert writable == [f"{place.root}/started:/started"]
    assert {"--userns", "--containall", "--cleanenv", "--no-privs"} <= set(said)
    assert said[said.index("--network") + 1] == "none"
    assert said[said.index("docker://an/image") + 1 :][-1] == "python"
    assert not any(name.startswith("PYTHON") for name in words.environment)
    assert words.environment["APPTAINERENV_SPEEDRUN_SEED"] == "1"


def test_without_apptainer_nothing_is_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    apptainer.find_apptainer.cache_clear()
    monkeypatch.setattr(apptainer, "EXECUTABLES", ("no-such-apptainer",))
    with pytest.raises(SpeedrunError, match=r"apptainer is missing: .*sandbox=bubblewrap"):
        run(bench, "image.sif", "print('x')")
    with pytest.raises(SpeedrunError, match=r"no image: set hardware\.image"):
        run(bench, "", "print('x')")
    assert not (bench.out / "exit.json").exists()


def test_one_that_cannot_start_names_what_it_said(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, failure="FATAL: no user namespaces")
    with pytest.raises(SpeedrunError, match=r"cannot start i\.sif here \(FATAL: no user namesp"):
        run(bench, "i.sif", "print('x')")


def test_root_runs_no_container(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    monkeypatch.setattr(apptainer, "_user", lambda: 0)
    with pytest.raises(SpeedrunError, match="as root"):
        run(bench, "i.sif", "print('x')")


def test_what_it_cannot_bind_is_a_clear_error(bench: Bench, image: str, tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.mkdir()
    with pytest.raises(SpeedrunError, match=r"cannot bind .*a:b"):
        apptainer._bind(odd, "/x")
    system = Interpreter(Path("/usr/bin/python3"), Path("/usr"), Path("/usr"), ())
    place = workplace.Place(tmp_path, {}, False)
    with pytest.raises(SpeedrunError, match=r"image has its own files: set hardware\.python"):
        apptainer._shown(system, place, make_spec(), "/work")


def test_another_image_at_the_same_path_is_another_run(bench: Bench, image: str) -> None:
    one = run(bench, image, "print('x')").key
    assert run(bench, image, "print('x')").key == one
    Path(image).write_text("built anew")
    assert run(bench, image, "print('x')").key != one


def test_a_coding_agent_is_told_to_take_another_sandbox() -> None:
    with pytest.raises(SpeedrunError, match=r"coder aider: .*choose sandbox bubblewrap or none"):
        box.demand("apptainer", "aider")
    box.demand("bubblewrap", "aider")
