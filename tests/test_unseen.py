"""unseen, views: the bound on noise, what the checks say, and the shards of a view."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nano_without_probes as nano
from speedrun import files, schema, unseen, views
from speedrun.files import SpeedrunError
from speedrun.interleave import Timing
from speedrun.runner import shards
from speedrun.schema import Outcome
from speedrun.unseen import Losses

SPEC = schema.TrainSpec(60, 1000, 1, 1, 8, 1, "none")
NOISE = views.View("noise", Path(), 50257, 10_485_760, 0.001)
HELD_OUT = views.View("holdout", Path(), 50257, 10_485_760, 0.001)


def run(
    loss: float | None,
    seed: int = 0,
    outcome: Outcome = Outcome.MISSED_TARGET,
    time_s: float | None = 10.0,
    steps: int | None = 100,
) -> Timing:
    reason = "" if outcome in (Outcome.OK, Outcome.MISSED_TARGET) else "it crashed"
    return Timing(
        0, "program", None, seed, outcome, reason, time_s, loss, None, 1.0, steps=steps
    )  # fmt: skip


def losses(*on_view: float, ordinary: float = 3.28) -> Losses:
    return Losses([run(loss, seed) for seed, loss in enumerate(on_view)], [(0, ordinary)])


def gains(generator: np.random.Generator, vocab: int, count: int) -> np.ndarray:
    """Return ln(V - 1) - loss of a model that learns from what it has read, on drawn tokens."""
    drawn = generator.integers(1, vocab, count)
    counts, found = np.full(vocab, generator.uniform(0.01, 2.0)), np.empty(count)
    for i, token in enumerate(drawn):
        found[i] = math.log(vocab - 1) + math.log(counts[token] / counts.sum())
        counts[token] += generator.uniform(0.5, 5.0)
    return found


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(1, 60))
def test_no_model_that_learns_as_it_reads_ends_below_the_bound(
    seed: int, vocab: int, count: int
) -> None:
    found = gains(np.random.default_rng(seed), vocab, count)
    loss = math.log(vocab - 1) - found.mean()
    assert loss >= unseen.noise_bound(count, 0.0, vocab)


@pytest.mark.parametrize(("p", "share"), [(0.34, 1 / 3), (0.33, 0.0)])
def test_the_bound_is_as_tight_as_its_p(p: float, share: float) -> None:
    """The boldest bet, all on one of three tokens, wins a third of the draws."""
    won = np.random.default_rng(1).integers(1, 4, 20_000) == 1
    loss = np.where(won, 0.0, math.inf)
    beaten = float((loss < unseen.noise_bound(1, 0.0, 4, p)).mean())
    assert beaten == pytest.approx(share, abs=0.01) and beaten <= p


@given(st.integers(1, 10**8), st.floats(0, 1), st.integers(2, 65_536), st.floats(1e-12, 0.5))
def test_end_of_text_and_few_tokens_only_lower_the_bound(
    tokens: int, share: float, vocab: int, p: float
) -> None:
    bound = unseen.noise_bound(tokens, share, vocab, p)
    assert bound <= math.log(vocab - 1 or 1) + 1e-12
    assert bound <= unseen.noise_bound(tokens, 0.0, vocab, p) + 1e-12
    assert bound <= unseen.noise_bound(tokens + 1, share, vocab, p) + 1e-12


def test_nanogpt_s_bound() -> None:
    bound = unseen.noise_bound(10_485_760, 0.001, 50257)
    assert bound == pytest.approx(0.999 * math.log(50256), abs=1e-5)


def test_a_print_below_chance_fails_and_an_honest_one_passes() -> None:
    records = [losses(16.0, 16.1), losses(16.4, 16.5)]
    assert unseen.noise_check(losses(9.0), records, NOISE).failures
    honest = unseen.noise_check(losses(16.2), records, NOISE)
    assert not honest.failures and not honest.held
    assert honest.evidence[0] == "loss 16.2000 on noise, the bound is 10.8141"


def test_a_scaled_loss_stays_above_the_bound_and_is_held() -> None:
    records = [losses(16.0, 16.1), losses(16.4, 16.5)]
    scaled = unseen.noise_check(losses(0.9 * 16.2, ordinary=0.9 * 3.28), records, NOISE)
    assert not scaled.failures and list(scaled.held) == ["noise_rise"]
    assert scaled.held["noise_rise"].startswith("the printed loss rises by 11.628 on noise")


def test_a_crash_fails_a_missed_target_does_not_and_no_number_is_held() -> None:
    records = [losses(16.0)]
    crashed = Losses([run(None, outcome=Outcome.TIMEOUT, time_s=None)], [(0, 3.28)])
    check = unseen.noise_check(crashed, records, NOISE)
    assert check.failures == ["noise run 1: timeout: it crashed"]
    nan = unseen.holdout_check(Losses([run(None)], [(0, 3.28)]), records, HELD_OUT)
    assert not nan.failures and list(nan.held) == ["holdout_loss"]


@pytest.mark.parametrize(("loss", "broken"), [(3.285, False), (3.289, False), (3.30, True)])
def test_a_hold_out_shard_that_is_harder_than_for_the_records(loss: float, broken: bool) -> None:
    records = [losses(3.284, 3.285), losses(3.286)]
    check = unseen.holdout_check(losses(loss), records, HELD_OUT)
    assert bool(check.failures) == broken
    assert check.figures["margin"] == pytest.approx(15 / math.sqrt(10_485_760))


def test_equal_seeds_are_compared_with_each_other() -> None:
    mine = Losses([run(9.0, 1), run(9.5, 2), run(9.6, 7)], [(1, 3.0), (2, 3.4)])
    assert mine.rises == pytest.approx([6.0, 6.1, 6.4])
    assert Losses([run(9.0, 1)], [(None, 3.0), (None, 3.2)]).rises == pytest.approx([5.9])
    assert Losses([run(9.0, 1)], []).rises == []


@pytest.mark.parametrize(
    ("kind", "seen", "word"),
    [
        ("noise", run(9.0, time_s=10.5), "evidence"),
        ("noise", run(9.0, time_s=12.0), "failures"),
        ("noise", run(9.0, time_s=8.0), "failures"),
        ("holdout", run(3.3, time_s=12.0), "failures"),
        ("noise", run(9.0, time_s=30.0, steps=300), "held"),  # until its loss reaches a level?
        ("noise", run(9.0, time_s=10.0, steps=60), "failures"),
        ("holdout", run(3.3, time_s=9.0, steps=90), "held"),
        ("noise", run(9.0, time_s=None), ""),
    ],
)
def test_time_and_steps_are_those_of_the_ordinary_runs(kind: str, seen: Timing, word: str) -> None:
    check = unseen.Check()
    ordinary = [run(3.28, seed, time_s=10.0 + seed / 10) for seed in range(3)]
    unseen.time_check(check, Losses([seen], []), ordinary, kind, "train_time")
    said = {"evidence": check.evidence, "failures": check.failures, "held": list(check.held)}
    assert [name for name, found in said.items() if found] == ([word] if word else [])


def tokens_of(path: Path) -> np.ndarray:
    shards.check(path)
    return np.fromfile(path, dtype="<u2", offset=shards.HEADER_BYTES)


def test_noise_keeps_end_of_text_and_nothing_else(tmp_path: Path) -> None:
    source = nano.write_shards(tmp_path / "shards")
    view = views.make("noise", source, SPEC, 4096, tmp_path / "views")
    before = tokens_of(source / "public" / "val_000000.bin")
    after = tokens_of(view.shards / "public" / "val_000000.bin")
    assert len(before) == len(after)
    assert ((before == 0) == (after == 0)).all() and (before == 0).any()
    assert (before == after)[before != 0].mean() < 0.01
    counts = np.bincount(after, minlength=nano.VOCAB)[1:]
    assert counts.min() > 0 and len(counts) == nano.VOCAB - 1
    share = np.count_nonzero(before[:4097] == 0) / 4096
    assert (view.tokens, view.vocab_size, view.end_of_text_share) == (4096, nano.VOCAB, share)


def test_a_view_is_made_once_and_known_by_its_digests(tmp_path: Path) -> None:
    source = nano.write_shards(tmp_path / "shards")
    made = [views.make(kind, source, SPEC, 0, tmp_path / "views") for kind in views.KINDS]
    path = made[0].shards / "public" / "val_000000.bin"
    stamp = path.stat().st_mtime_ns
    again = views.make("noise", source, SPEC, 0, tmp_path / "views")
    assert again == made[0] and path.stat().st_mtime_ns == stamp
    meta = files.read_json(made[1].shards / "meta.json")
    val = made[1].shards / "public" / "val_000000.bin"
    assert meta["sha256"]["val_000000.bin"] == files.digest_file(val)
    assert len(tokens_of(val)) == 8192  # of the hold-out shard's 10,000
    held = tokens_of(source / "private" / "holdout_000000.bin")
    assert (tokens_of(val) == held[:8192]).all()
    training = [folder / "public" / "train_000000.bin" for folder in (source, made[1].shards)]
    assert training[0].samefile(training[1])
    assert sorted(path.name for path in (tmp_path / "views").iterdir()) == sorted(
        view.shards.name for view in made
    )


def test_a_half_made_view_is_made_anew(tmp_path: Path) -> None:
    source = nano.write_shards(tmp_path / "shards")
    view = views.make("noise", source, SPEC, 0, tmp_path / "views")
    content = (view.shards / "public" / "val_000000.bin").read_bytes()
    (view.shards / "meta.json").unlink()
    assert views.make("noise", source, SPEC, 0, tmp_path / "views") == view
    assert (view.shards / "public" / "val_000000.bin").read_bytes() == content


def test_a_hold_out_shard_must_be_there_and_long_enough(tmp_path: Path) -> None:
    source = nano.write_shards(tmp_path / "shards")
    with pytest.raises(SpeedrunError, match="the track validates on 20,000"):
        views.make("holdout", source, SPEC, 20_000, tmp_path / "views")
    (source / "private" / "holdout_000000.bin").unlink()
    with pytest.raises(SpeedrunError, match="no hold-out shard"):
        views.make("holdout", source, SPEC, 0, tmp_path / "views")


def test_a_view_that_another_audit_made_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store, filled = nano.write_shards(tmp_path / "shards"), tmp_path / "views", views._fill

    def slow(plan: Any, folder: Path) -> None:
        filled(plan, folder)
        monkeypatch.setattr(views, "_fill", filled)
        made.append(views.make("noise", source, SPEC, 0, store).shards)
        in_use.append(made[0].stat().st_ino)

    made, in_use = list[Path](), list[int]()
    monkeypatch.setattr(views, "_fill", slow)
    assert views.make("noise", source, SPEC, 0, store).shards == made[0]
    assert [path.stat().st_ino for path in store.iterdir()] == in_use


def test_what_a_killed_making_left_is_removed_a_day_later(tmp_path: Path) -> None:
    source, store = nano.write_shards(tmp_path / "shards"), tmp_path / "views"
    name = views.make("noise", source, SPEC, 0, store).shards.name
    shutil.rmtree(store / name)
    old, new = store / f".{name}.old", store / f".{name}.new"
    for folder in (old, new):
        files.write_text(folder / "public" / "half", "x")
    os.utime(old, (0, 0))
    views.make("noise", source, SPEC, 0, store)
    assert not old.exists() and new.exists()
