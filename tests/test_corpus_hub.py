"""corpus of kind hub: downloads against a stand-in hub that fails in every way we know of."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hub_server
import small_disks
from hub_shards import SHARDS, TRAIN, VAL, be_patient, gets, serve, shard, spec_of, stored
from speedrun.cli import main
from speedrun.files import SpeedrunError, canonical_json, digest_file, read_json
from speedrun.stages import corpus


@pytest.fixture()
def hub() -> Iterator[hub_server.Hub]:
    with serve() as served:
        yield served


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    be_patient(monkeypatch, tmp_path)


@pytest.fixture()
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disks.mounted(tmp_path / "disk") as folder:
        yield folder


def test_shards_come_whole_and_the_manifest_says_what_they_are(hub: hub_server.Hub) -> None:
    sizes = corpus.build(spec_of(hub.endpoint), Path("out"))
    assert sizes == {"shards": 3.0, "bytes": 3 * len(hub.files[VAL]), "downloaded": 3.0}
    manifest = read_json(Path("out/manifest.json"))
    for entry in manifest["shards"]:
        assert entry["commit"] == hub_server.COMMIT
        assert Path(entry["path"]).read_bytes() == hub.files[entry["file"]]
        assert entry["sha256"] == digest_file(Path(entry["path"]))
        assert not os.stat(entry["path"]).st_mode & 0o222
    assert {entry["name"]: entry["file"] for entry in manifest["shards"]} == SHARDS


def test_a_second_run_and_more_shards_ask_only_for_what_is_missing(hub: hub_server.Hub) -> None:
    fewer = {name: file for name, file in SHARDS.items() if file != TRAIN}
    corpus.build(spec_of(hub.endpoint, shards=fewer), Path("out"))
    hub.asked.clear()
    assert corpus.build(spec_of(hub.endpoint, shards=fewer), Path("out"))["downloaded"] == 0
    assert not hub.asked
    assert corpus.build(spec_of(hub.endpoint), Path("out"))["downloaded"] == 1
    assert {name for _, name, _ in hub.asked} == {TRAIN}


def test_finished_shards_need_no_hub(hub: hub_server.Hub) -> None:
    corpus.build(spec_of(hub.endpoint), Path("out"))
    before = read_json(Path("out/manifest.json"))
    corpus.build(spec_of("http://127.0.0.1:9"), Path("out"))
    assert read_json(Path("out/manifest.json")) == before


def test_a_branch_is_noted_with_its_commit(hub: hub_server.Hub) -> None:
    corpus.build(spec_of(hub.endpoint, revision="main"), Path("out"))
    assert {entry["commit"] for entry in read_json(Path("out/manifest.json"))["shards"]} == {
        hub_server.COMMIT
    }


def test_a_connection_that_is_cut_again_and_again_is_continued(hub: hub_server.Hub) -> None:
    hub.cut_after[TRAIN] = 50_000
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert gets(hub, TRAIN) == ["", "bytes=50000-", "bytes=100000-"]


def test_a_download_that_breaks_off_is_continued_by_the_next_run(hub: hub_server.Hub) -> None:
    hub.cut_after[TRAIN] = 50_000
    hub.answers[TRAIN] = [0, 0, 0, 503, 503, 503, 503, 503, 503]  # asked, a part, then nothing
    with pytest.raises(SpeedrunError, match=r"answered 503 for fineweb_train.*run the same comma"):
        corpus.build(spec_of(hub.endpoint), Path("out"))
    assert TRAIN not in stored() and not Path("out/manifest.json").exists()
    hub.cut_after.clear(), hub.answers.clear(), hub.asked.clear()
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert gets(hub, TRAIN) == ["bytes=50000-"]
    assert stored() == set(SHARDS.values())


def test_a_killed_download_is_continued_by_the_next_run(hub: hub_server.Hub) -> None:
    hub.cut_after[TRAIN] = 50_000
    part = Path("store/hub/someone--shards") / f".{TRAIN}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(hub.files[TRAIN][:70_000])
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert gets(hub, TRAIN)[0] == "bytes=70000-" and not part.exists()


def test_a_server_without_ranges_is_read_from_the_beginning(hub: hub_server.Hub) -> None:
    hub.ranges = False
    part = Path("store/hub/someone--shards") / f".{TRAIN}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 70_000)
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert (part.parent / TRAIN).read_bytes() == hub.files[TRAIN]


def test_a_part_that_is_too_long_is_dropped(hub: hub_server.Hub) -> None:
    part = Path("store/hub/someone--shards") / f".{TRAIN}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 900_000)
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert (part.parent / TRAIN).read_bytes() == hub.files[TRAIN]


def test_wrong_bytes_are_deleted_and_said(hub: hub_server.Hub) -> None:
    hub.damaged.add(TRAIN)
    with pytest.raises(SpeedrunError, match=r"came with SHA-256 .* promised.*run the same command"):
        corpus.build(spec_of(hub.endpoint), Path("out"))
    assert not list(Path("store").rglob(f"*{TRAIN}*"))
    hub.damaged.clear()
    corpus.build(spec_of(hub.endpoint), Path("out"))


def test_more_bytes_than_promised_are_said_and_not_kept(hub: hub_server.Hub) -> None:
    hub.longer.add(TRAIN)
    with pytest.raises(
        SpeedrunError, match=r"train_000001\.bin did not come whole: .*run the same"
    ):
        corpus.build(spec_of(hub.endpoint), Path("out"))
    assert TRAIN not in stored() and not Path("out/manifest.json").exists()
    hub.longer.clear()
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert stored() == set(SHARDS.values())


def test_a_part_that_was_whole_when_killed_is_taken(hub: hub_server.Hub) -> None:
    part = Path("store/hub/someone--shards") / f".{TRAIN}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(hub.files[TRAIN])
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert not gets(hub, TRAIN) and TRAIN in stored()


def test_two_jobs_at_once_get_each_shard_once(hub: hub_server.Hub) -> None:
    hub.files[TRAIN] = shard(9, 4_000_000)
    begin = threading.Barrier(2)

    def job(out: str) -> float:
        begin.wait()
        return corpus.build(spec_of(hub.endpoint), Path(out))["downloaded"]

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(job, ("one", "two"))) == [0, 3]
    assert [gets(hub, name) for name in hub.files] == [[""]] * 3
    assert read_json(Path("one/manifest.json")) == read_json(Path("two/manifest.json"))


def test_a_store_that_cannot_be_written_is_named(hub: hub_server.Hub) -> None:
    Path("store").write_text("no folder")
    with pytest.raises(SpeedrunError, match=r"cannot write to store/hub/.*: set corpus\.store"):
        corpus.build(spec_of(hub.endpoint), Path("out"))


def test_an_endpoint_may_end_with_a_slash(hub: hub_server.Hub) -> None:
    corpus.build(spec_of(f"{hub.endpoint}/"), Path("out"))
    assert stored() == set(SHARDS.values())


def test_a_pinned_digest_must_be_the_hubs(hub: hub_server.Hub) -> None:
    with pytest.raises(SpeedrunError, match=r"pinned is 0000.*correct corpus\.sha256"):
        corpus.build(spec_of(hub.endpoint, sha256={VAL: "0" * 64}), Path("out"))
    assert not gets(hub, VAL)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([404], "answered 404 .*check corpus.repository"),
        ([401], "answered 401"),
        ([500] * 7, "answered 500 .*try later"),
        ([429] * 7, "answered 429 .*try later"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: hub_server.Hub, codes: list[int], message: str
) -> None:
    hub.answers[VAL] = codes
    with pytest.raises(SpeedrunError, match=message) as caught:
        corpus.build(spec_of(hub.endpoint), Path("out"))
    assert "\n" not in str(caught.value)
    assert not stored()


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_hub_that_recovers_is_no_error(hub: hub_server.Hub, code: int) -> None:
    hub.answers[VAL] = [code, code]
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert stored() == set(SHARDS.values())


def test_an_unreachable_hub_is_one_line_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = canonical_json(spec_of("http://127.0.0.1:9"))
    assert main(["corpus", "--spec", spec, "--out", "out"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("speedrun corpus: corpus: cannot get fineweb_")
    assert "corpus.endpoint" in line and "run the same command again" in line
    assert not list(tmp_path.rglob("*.json"))


def test_files_copied_by_hand_are_taken_offline(hub: hub_server.Hub) -> None:
    folder = Path("store/hub/someone--shards")
    folder.mkdir(parents=True)
    for name, content in hub.files.items():
        (folder / name).write_bytes(content)
    wrong = spec_of("", offline=True, sha256={VAL: "0" * 64})
    with pytest.raises(SpeedrunError, match="pinned is 0000"):
        corpus.build(wrong, Path("out"))
    assert corpus.build(spec_of("", offline=True), Path("out"))["downloaded"] == 0
    (folder / TRAIN).unlink()
    with pytest.raises(SpeedrunError, match=r"is missing and corpus\.offline is set"):
        corpus.build(spec_of("", offline=True), Path("out"))


def test_too_small_a_disk_is_said_before_the_download(
    hub: hub_server.Hub, small_disk: Path
) -> None:
    with pytest.raises(SpeedrunError, match=r"GB are needed in .*disk.* GB are free"):
        corpus.build(spec_of(hub.endpoint, store=str(small_disk)), Path("out"))
    assert not gets(hub, VAL)


def test_a_disk_that_fills_leaves_nothing(
    hub: hub_server.Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedrun.files.require_space", lambda *_: None)
    hub.files[TRAIN] = shard(9, 8_000_000)
    with pytest.raises(SpeedrunError, match="is full: free some space and run the same command"):
        corpus.build(spec_of(hub.endpoint, store=str(small_disk)), Path("out"))
    assert not list(small_disk.rglob(f"*{TRAIN}*"))


def test_a_kill_in_the_middle_leaves_what_the_next_run_needs(
    hub: hub_server.Hub, repository: Path
) -> None:
    hub.files[TRAIN] = shard(9, 16_000_000)
    command = [str(repository / ".venv/bin/speedrun"), "corpus", "--out", "out", "--spec"]
    process = subprocess.Popen([*command, canonical_json(spec_of(hub.endpoint))])
    part = Path("store/hub/someone--shards") / f".{TRAIN}.part"
    watch = threading.Event()
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        watch.wait(0.002)
    process.kill()
    process.wait()
    assert not Path("out/manifest.json").exists()
    corpus.build(spec_of(hub.endpoint), Path("out"))
    assert stored() == set(SHARDS.values())
