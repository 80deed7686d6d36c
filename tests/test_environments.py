"""Era environments: built for real by uv, from wheels that the tests write; no network."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import speedrun
import workflow_runs
from speedrun import cli, files, registry, specs
from speedrun.adapters import environments
from speedrun.adapters.environments import Request
from speedrun.files import SpeedrunError

REPOSITORY = Path(__file__).parents[1]
ENVS = REPOSITORY / "workflow" / "envs"
SLOW = """
import pathlib, time
def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path(__file__).with_name("started").touch()
    time.sleep(60)
"""


def _wheel(folder: Path, name: str, version: str, code: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    texts = {
        f"{name}/__init__.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*texts, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**texts, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    _wheel(folder, "tiny", "1.0", "answer = 42\n")
    _wheel(folder, "tiny", "2.0")
    _wheel(folder, "torch", "3.1+cu126")
    _wheel(folder, "torch", "4.0", "raise ImportError('libcudart.so.99 not found')\n")
    return folder


def _request(wheels: Path, *lines: str) -> Request:
    path = wheels.parent / "era.txt"
    path.write_text("\n".join(["--no-index", f"--find-links {wheels}", *lines]) + "\n")
    return Request(path, sys.executable)


def _left(out: Path) -> set[str]:
    return {path.name for path in out.parent.iterdir()} - {f".{out.name}.lock", "wheels", "era.txt"}


def test_environment_is_built_once_and_runs(wheels: Path) -> None:
    out = wheels.parent / "env"
    request = _request(wheels, "# a comment", "tiny==1.0   # another", "torch==3.1")
    found = environments.build(request, out)
    assert found["packages"] == {"tiny": "1.0", "torch": "3.1+cu126"}
    assert files.read_json(out / "environment.json") == found
    said = subprocess.run(
        [out / "bin" / "python", "-c", "import tiny, sys; print(tiny.answer, sys.prefix)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["42", str(out)]
    before = (out / "environment.json").stat().st_mtime_ns, (out / "bin").stat().st_ino
    (wheels / "tiny-1.0-py3-none-any.whl").unlink()  # a second build could not succeed
    assert environments.build(_request(wheels, "tiny==1.0", "torch==3.1 # new"), out) == found
    assert before == ((out / "environment.json").stat().st_mtime_ns, (out / "bin").stat().st_ino)
    assert _left(out) == {"env"}


def test_changed_pins_replace_the_environment(wheels: Path) -> None:
    out = wheels.parent / "env"
    environments.build(_request(wheels, "tiny==1.0"), out)
    assert environments.build(_request(wheels, "tiny==2.0"), out)["packages"] == {"tiny": "2.0"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("tiny==9.9", r"no version of tiny==9\.9"),
        ("tiny=!1", r"parse"),
        ("absent==1", r"absent was not found"),
        ("torch==4.0", r"its Python fails: ImportError: libcudart\.so\.99 not found"),
        ("tiny==1.0; python_version < '3'", r"tiny is absent, not 1\.0"),
    ],
)
def test_broken_requirement_is_one_line_and_leaves_nothing(
    wheels: Path, line: str, why: str
) -> None:
    out = wheels.parent / "env"
    with pytest.raises(SpeedrunError, match=why) as caught:
        environments.build(_request(wheels, line), out)
    message = str(caught.value)
    assert "\n" not in message
    assert "era.txt" in message
    assert "hardware.python" in message
    assert _left(out) == set()


def test_missing_requirements_or_interpreter_are_named(wheels: Path) -> None:
    out = wheels.parent / "env"
    with pytest.raises(SpeedrunError, match=r"nowhere\.txt cannot be read"):
        environments.build(Request(wheels / "nowhere.txt", "3.12"), out)
    with pytest.raises(SpeedrunError, match=r"uv venv: .*/no/such/python"):
        environments.build(
            Request(_request(wheels, "tiny==1.0").requirements, "/no/such/python"), out
        )
    assert _left(out) == set()


def test_killed_build_leaves_none_and_the_next_one_clears_up(wheels: Path) -> None:
    slow, out = wheels.parent / "slow", wheels.parent / "env"
    slow.mkdir()
    (slow / "backend.py").write_text(SLOW)
    (slow / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slow"\nversion = "1"\n'
    )
    request = _request(wheels, "tiny==1.0", f"slow @ file://{slow}")
    words = ["environment", "--era", "any", "--python", sys.executable, "--out", str(out)]
    child = subprocess.Popen(
        [sys.executable, "-m", "speedrun", *words, "--requirements", str(request.requirements)],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(speedrun.__file__).parents[1])},
    )
    deadline_s = time.monotonic() + 60
    while not (slow / "started").exists() and time.monotonic() < deadline_s:
        assert child.poll() is None
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not out.exists()
    assert [name for name in _left(out) if name.startswith(".env.building-")]
    environments.build(_request(wheels, "tiny==1.0"), out)
    assert _left(out) == {"env", "slow"}


def test_half_deleted_environment_is_not_taken_for_whole(wheels: Path) -> None:
    out = wheels.parent / "env"
    environments.build(_request(wheels, "tiny==1.0"), out)
    (out / "environment.json").unlink()
    assert environments.build(_request(wheels, "tiny==1.0"), out)["packages"] == {"tiny": "1.0"}


def test_the_verb_writes_its_mark_beside(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = wheels.parent / "env"
    words = ["environment", "--era", "flex", "--out", str(out), "--python", sys.executable]
    path = str(_request(wheels, "tiny==1.0").requirements)
    assert cli.main([*words, "--requirements", path]) == 0
    assert files.read_json(wheels.parent / "env.json") == files.read_json(out / "environment.json")
    assert cli.main(["environment", "--era", "jazz", "--out", str(out)]) == 1
    assert "no era 'jazz'; the eras are llmc, ddp" in capsys.readouterr().err


# --- what the repository declares ---


def test_every_era_pins_what_it_needs() -> None:
    facts = registry.load(REPOSITORY / "tracks" / "nanogpt" / "registry.yaml")
    assert {path.name for path in ENVS.glob("*.txt")} == {era.requirements for era in facts.eras}
    for era in facts.eras:
        request = Request(ENVS / era.requirements, era.python)
        pins = request.pins()
        assert len(pins) == len(request.lines(options=False)), era.id  # nothing floats
        assert {"torch", "numpy"} <= set(pins)
        needs = {need for record in facts.records if record.era == era.id for need in record.needs}
        assert ("kernels" in pins) == ("kernel_hub" in needs), era.id
        assert ("tiktoken" in pins) == ("tiktoken_download" in needs), era.id


def test_python_of_a_run_is_the_eras_unless_another_is_named() -> None:
    built = {"environments": "build", "python": "", "trainer": "real"}
    assert specs.python(built, "flex") == "results/envs/flex/bin/python"
    assert specs.python({**built, "python": "/opt/py"}, "flex") == "/opt/py"
    assert specs.python({**built, "environments": "none"}, "flex") == ""
    assert specs.python({**built, "trainer": "simulated"}, "flex") == ""
    assert specs.python(built, "") == ""
    assert specs.python({"python": "", "trainer": "real"}, "flex") == ""
    assert re.fullmatch(r"results/envs/\w+", specs.built_environment(built, "flex"))


@pytest.mark.dag
@pytest.mark.parametrize("index", ["", "https://here.example/a b"])
def test_workflow_builds_the_environment_of_the_tasks_target(tmp_path: Path, index: str) -> None:
    """Task r11-r12 crosses two eras: its start runs in the target's environment too."""
    overrides = ["tasks=[r11-r12]", f"hardware.index='{index}'"]
    done = workflow_runs.run(tmp_path, "-n", "-p", "-c1", sweep="paper19", overrides=overrides)
    assert done.returncode == 0, done.stderr
    assert workflow_runs.planned(done.stdout + done.stderr)["environment"] == 1
    printed = (done.stdout + done.stderr).splitlines()
    lines = [line.strip().removeprefix("Shell command: ") for line in printed]
    built = next(line for line in lines if line.startswith("speedrun environment"))
    words = shlex.split(built)
    assert words[words.index("--era") + 1] == "flex"
    assert words[words.index("--python") + 1] == "3.12"
    assert ("--index" in words) == bool(index)
    assert not index or words[words.index("--index") + 1] == index
    runs = [line for line in lines if line.startswith("speedrun train ")]
    assert len(runs) == 8  # two arms, three references of start and target each
    assert all('"python":"results/envs/flex/bin/python"' in line for line in runs)


@pytest.mark.dag
def test_simulated_or_own_interpreters_build_nothing(tmp_path: Path) -> None:
    for override in ("hardware.trainer=simulated", "hardware.python=python3"):
        done = workflow_runs.run(
            tmp_path, "-n", "-c1", sweep="paper19", overrides=["tasks=[r11-r12]", override]
        )
        assert done.returncode == 0, done.stderr
        assert "environment" not in workflow_runs.planned(done.stdout + done.stderr)
