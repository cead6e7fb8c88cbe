"""Real trainings of a practice adapter: killed and resumed to the same bytes, refused where they cannot be right."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.adapters.card import check_fits, read_card
from nightlab.errors import LockHeld, UsageError
from nightlab.files import JsonLines
from nightlab.job_folder import lock
from nightlab.practice import model_dir
from nightlab.training.checkpoint import DAMAGED
from nightlab.training.descent import Diverged
from nightlab.training.recipe import Recipe
from nightlab.training.run import Interrupted, train
from tests.training.conftest import quick

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A training that was never cut off, and its card."""
    out = tmp_path_factory.mktemp("straight") / "adapter"
    return out, train(quick(data), out)


def command(recipe: Recipe, folder: Path, out: Path) -> list[str]:
    """The same training as a command of its own process."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    return [sys.executable, "-m", "nightlab", "train", str(path), "--out", str(out), "--json"]


def told(out: Path) -> list[dict[str, Any]]:
    """The rows of a training's metrics, without the time they took."""
    rows = JsonLines(out / "metrics.jsonl").read()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_training_leaves_an_adapter_with_its_card_curve_and_metrics(
    straight: tuple[Path, dict[str, Any]], data: Path
) -> None:
    out, card = straight
    adapter = read_card(out)
    assert adapter.base == "nightlab/practice-llama"
    assert (adapter.rank, adapter.alpha, adapter.target_modules) == (4, 8.0, ("q_proj", "up_proj", "v_proj"))
    assert check_fits(adapter, model_dir("llama")) == []
    assert card == json.loads((out / "provenance.json").read_text("utf-8"))
    assert card["adapter_sha256"] == adapter.sha256
    assert card["base"]["id"] == adapter.base
    assert card["data"]["rows"] == 30
    assert card["data"]["learned_from"] + card["data"]["held_out"] + card["data"]["left_out"] == 30
    rows = list(JsonLines(out / "metrics.jsonl").read())
    assert [row["step"] for row in rows] == list(range(7))
    assert rows[-1]["held_out_loss"] == card["metrics"]["held_out_loss"] < card["metrics"]["held_out_loss_before"]
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("csv", b"step,epoch,loss")):
        assert (out / "figs" / f"loss.{kind}").read_bytes().startswith(start)
    assert not (out / "checkpoint.pt").exists()


def test_a_killed_training_goes_on_and_gives_the_same_bytes(
    straight: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    whole, card = straight
    out = tmp_path / "adapter"
    process = subprocess.Popen(command(quick(data), tmp_path, out), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "provenance.json").exists(), "it was done before it could be killed"
    resumed = train(quick(data), out)
    assert resumed["resumed_at"]
    assert resumed["adapter_sha256"] == card["adapter_sha256"]
    assert told(out) == told(whole)
    assert (out / "figs" / "loss.png").read_bytes() == (whole / "figs" / "loss.png").read_bytes()


def test_a_finished_training_is_not_trained_again(straight: tuple[Path, dict[str, Any]], data: Path) -> None:
    out, card = straight
    before = (out / "adapter_model.safetensors").stat().st_mtime_ns
    assert train(quick(data), out) == card
    assert (out / "adapter_model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="another adapter stands here"):
        train(quick(data, seed=5), out)


def test_a_training_that_is_asked_to_stop_keeps_its_place(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    with pytest.raises(Interrupted, match="stopped after step 0 of 2"):
        train(quick(data, steps=2, targets=("q_proj",)), out, stopped=lambda: True)
    with pytest.raises(UsageError, match="another training was begun in this folder"):
        train(quick(data, steps=2, targets=("v_proj",)), out)
    (out / "checkpoint.pt").write_bytes(b"half a checkpoint")
    card = train(quick(data, steps=2, targets=("q_proj",)), out)
    assert card["notes"] == [f"the checkpoint could not be read and is kept as {DAMAGED}: the training began again"]
    assert (out / DAMAGED).exists()


def test_what_cannot_be_right_is_refused_in_one_sentence(data: Path, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"targets": ("q_prj",)}, "the target module 'q_prj' matches nothing", "did you mean q_proj?"),
        ({"max_length": 8}, "every chat is longer than max_length = 8 tokens", "raise max_length"),
        ({"model": "practice:lama"}, "no 'practice:lama'", ""),
        ({"model": "nobody/nothing-8b"}, "nobody/nothing-8b is not on this machine", "hf download"),
    ]
    for changes, said, hint in wrong:
        with pytest.raises(UsageError) as caught:
            train(quick(data, **changes), tmp_path / "adapter")
        assert said in caught.value.what
        assert hint in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no such file"):
        train(quick(tmp_path / "none.jsonl"), tmp_path / "adapter")
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.tex").write_text("mine", "utf-8")
    with pytest.raises(UsageError, match="the folder holds something else"):
        train(quick(data), strange)


def test_a_loss_that_is_no_number_stops_the_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"the loss is not finite at step \d of 6"):
        train(quick(data, learning_rate=1e37, clip=1e30, warmup=0.0, dropout=0.0), tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "provenance.json").exists()


def test_two_processes_do_not_train_into_one_folder(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    out.mkdir()
    fd = lock(str(out), ".lock", 0.0)
    assert fd is not None
    try:
        with pytest.raises(LockHeld, match="another process trains into this folder"):
            train(quick(data), out)
    finally:
        os.close(fd)
    shutil.rmtree(out)
