"""One training from its recipe to an adapter with its card; called again after any crash, it goes on where it stood.

The same recipe, data and model in the same folder is the same training: finished, its result is returned at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nightlab.errors import LockHeld, NightlabError, UsageError
from nightlab.files import JsonLines, canonical, clear_parts, storage, write_atomic
from nightlab.job_folder import lock
from nightlab.training import adapted, checkpoint, curve, kept, provenance
from nightlab.training.chats import ChatData, held_out, read_chats
from nightlab.training.descent import Descent
from nightlab.training.examples import Example, examples
from nightlab.training.recipe import Recipe
from nightlab.training.weights import Model, find_model

METRICS = "metrics.jsonl"
_LOCK = ".lock"
_LAST = 10  # the train loss of a result is the mean over this many last steps

Say = Callable[[str], None]


class Interrupted(NightlabError):
    """The training was asked to stop; its checkpoint stands, and the same command goes on."""

    exit_code = 3


@dataclass(frozen=True)
class _Work:
    """What one training reads and where it writes."""

    recipe: Recipe
    base: Model
    data: ChatData
    identity: str
    out: Path


def train(
    recipe: Recipe,
    out: Path,
    say: Say = lambda line: None,
    stopped: Callable[[], bool] = lambda: False,
    *,
    figure: bool = True,
) -> dict[str, Any]:
    """Train the adapter of a recipe into the folder `out`; the content of its card. Raises NightlabError.

    `stopped` is asked between steps: true ends it with a checkpoint and Interrupted. Without `figure` the loss curve is
    not drawn; its numbers stand in metrics.jsonl.
    """
    base = find_model(recipe.model, recipe.revision)
    data = read_chats(Path(recipe.data).expanduser())
    work = _Work(recipe, base, data, recipe.identity(data.sha256, base.sha256), out)
    if (card := _finished(work)) is not None:
        return card
    _refuse_foreign(out)
    with _alone(out):
        clear_parts(out)
        return _finished(work) or _train(work, say, stopped, figure=figure)


def _finished(work: _Work) -> dict[str, Any] | None:
    card = provenance.read_provenance(work.out)
    if card is not None and card.get("identity") != work.identity:
        hint = "train into another folder: an adapter never changes once it stands"
        raise UsageError("another adapter stands here: its recipe, data or model differ", where=work.out, hint=hint)
    return card


def _refuse_foreign(out: Path) -> None:
    """A folder that holds something else is not written into."""
    ours = {METRICS, checkpoint.FILE, checkpoint.DAMAGED, kept.FILE, kept.STARTS, _LOCK, "figs", "recipe.yaml"}
    ours.add("adapter_config.json")
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    strange = [name for name in names if name not in ours and not name.endswith((".part", ".safetensors"))]
    if strange:
        raise UsageError("the folder holds something else", where=out / strange[0], hint="train into a new folder")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    with storage(out):
        out.mkdir(parents=True, exist_ok=True)
    fd = lock(str(out), _LOCK, 0.0)
    if fd is None:
        raise LockHeld("another process trains into this folder", where=out)
    try:
        yield
    finally:
        os.close(fd)


def _train(work: _Work, say: Say, stopped: Callable[[], bool], *, figure: bool) -> dict[str, Any]:
    recipe, notes = work.recipe, []
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = adapted.load(work.base, recipe, device)
    threads = adapted.set_threads(model, recipe.threads)
    learn, measure = held_out(work.data.rows, recipe.held_out, recipe.seed)
    rows, long = examples(tokenizer, learn, work.data, recipe.max_length)
    kept, long_kept = examples(tokenizer, measure, work.data, recipe.max_length)
    if long + long_kept:
        notes.append(f"{long + long_kept} of {len(work.data.rows)} chats are longer than max_length and were left out")
    descent = Descent(model, recipe, rows, recipe.steps_for(len(rows)), _pad(tokenizer), device)
    state, damage = checkpoint.load(work.out, work.identity)
    notes += [damage] if damage else []
    for note in notes:
        say(note)
    spent, resumed = _resume(descent, state, say)
    began = time.monotonic()
    history = _descend(work, descent, kept, (spent, resumed), say, stopped)
    counts = {
        "rows": len(work.data.rows),
        "learned_from": len(rows),
        "held_out": len(kept),
        "left_out": long + long_kept,
    }
    metrics = _metrics(history, descent, recipe) | {"seconds": round(spent + time.monotonic() - began, 1)}
    adapted.save_adapter(model, work.base, work.out)
    if figure:
        curve.draw(history, work.out)
    course = provenance.Course(counts, metrics, _device(device), threads, resumed, tuple(notes))
    card = provenance.write_card(work.out, work.identity, recipe, work.base, work.data, course)
    checkpoint.remove(work.out)
    return card


def _resume(descent: Descent, state: checkpoint.Checkpoint | None, say: Say) -> tuple[float, tuple[int, ...]]:
    """Set the descent where a checkpoint stands: (seconds spent before, steps it was resumed at)."""
    if state is None:
        return 0.0, ()
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(descent.model, state.adapter)
    descent.optimizer.load_state_dict(state.optimizer)
    descent.step = state.step
    say(f"goes on after step {state.step} of {descent.total}")
    return state.seconds, (*state.resumed, state.step)


def _descend(
    work: _Work,
    descent: Descent,
    kept: list[Example],
    before: tuple[float, tuple[int, ...]],
    say: Say,
    stopped: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Take all missing steps, with a checkpoint every so often; every row of metrics.jsonl."""
    history = [row for row in JsonLines(work.out / METRICS).read() if row["step"] <= descent.step]
    write_atomic(work.out / METRICS, "".join(canonical(row) + "\n" for row in history))
    log = JsonLines(work.out / METRICS)
    spent, resumed = before
    began = time.monotonic()

    def keep() -> None:
        now = spent + time.monotonic() - began
        checkpoint.save(work.out, _state(descent, work.identity, now, resumed))

    if descent.step == 0 and kept and not history:
        history.append({"step": 0, "epoch": 0.0, "held_out_loss": descent.measure(kept)})
        log.append(history[-1])
    for row in descent.run(stopped):
        due = row["step"] % work.recipe.checkpoint_every == 0
        if kept and (due or row["step"] == descent.total):
            row["held_out_loss"] = descent.measure(kept)
        history.append(row)
        log.append(row)
        if due and row["step"] < descent.total:
            keep()
            say(f"step {row['step']} of {descent.total}, loss {row['loss']:.3f}")
    if descent.step < descent.total:
        keep()
        log.close()
        hint = "the same command goes on from there"
        raise Interrupted(f"stopped after step {descent.step} of {descent.total}", where=work.out, hint=hint)
    log.close()
    return history


def _state(descent: Descent, identity: str, seconds: float, resumed: tuple[int, ...]) -> checkpoint.Checkpoint:
    from peft import get_peft_model_state_dict

    adapter = get_peft_model_state_dict(descent.model, save_embedding_layers=False)
    return checkpoint.Checkpoint(
        identity, descent.step, dict(adapter), descent.optimizer.state_dict(), round(seconds, 1), resumed
    )


def _metrics(history: list[dict[str, Any]], descent: Descent, recipe: Recipe) -> dict[str, Any]:
    steps = [row for row in history if "loss" in row]
    held = [row["held_out_loss"] for row in history if row.get("held_out_loss") is not None]
    last = [row["loss"] for row in steps[-_LAST:]]
    return {
        "train_loss": sum(last) / len(last),
        "held_out_loss": held[-1] if held else None,
        "held_out_loss_before": held[0] if held else None,
        "steps": descent.total,
        "tokens": sum(row["tokens"] for row in steps),
        "trained_parameters": adapted.trainable(descent.model),
        "rank": recipe.rank,
        "seed": recipe.seed,
    }


def _pad(tokenizer: Any) -> int:
    """A token to pad with; what stands there is masked, so any will do."""
    found = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return int(found or 0)


def _device(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"
