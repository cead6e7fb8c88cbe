"""`nightlab train`: a LoRA adapter from a file of chats, in the foreground; the same command goes on after any end."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nightlab.cli.session import Session

if TYPE_CHECKING:
    from nightlab.training.recipe import Recipe

_FLAGS: tuple[tuple[str, Any, str], ...] = (
    ("--model", str, "practice:NAME, a folder, or a cached Hugging Face id."),
    ("--data", str, 'A JSONL file, one chat a line: {"messages": [...]}.'),
    ("--rank", int, "LoRA rank.  [default: 16]"),
    ("--alpha", float, "LoRA alpha.  [default: twice the rank]"),
    ("--dropout", float, "LoRA dropout.  [default: 0]"),
    ("--epochs", float, "Times over the data.  [default: 2]"),
    ("--steps", int, "Optimiser steps, instead of epochs."),
    ("--batch", int, "Chats of one step.  [default: 16]"),
    ("--micro-batch", int, "Chats in memory at once.  [default: 4]"),
    ("--learning-rate", float, "The highest learning rate.  [default: 0.0002]"),
    ("--max-length", int, "Longer chats are left out, and counted.  [default: 1024]"),
    ("--held-out", float, "Share of the chats to measure on.  [default: 0.1]"),
    ("--seed", int, "Fixes first weights, held-out rows, order and dropout.  [default: 0]"),
    ("--dtype", str, "auto, float32 or bfloat16.  [default: auto]"),
    ("--checkpoint-every", int, "Steps between checkpoints.  [default: 50]"),
)


def _recipe_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag, kind, text in reversed(_FLAGS):
        command = click.option(flag, type=kind, help=text)(command)
    return command


@click.command()
@click.argument("recipe", required=False, type=click.Path(path_type=Path), metavar="[RECIPE.yaml]")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the adapter goes; else adapters/.")
@_recipe_flags
@click.option("--target", "targets", multiple=True, metavar="NAME", help="A module to adapt; may be repeated.")
@click.option("--gradient-checkpointing/--no-gradient-checkpointing", default=None, help="Less memory, more time.")
@click.option("--figure/--no-figure", default=True, help="Draw the loss curve.  [default: yes]")
@click.option("--estimate", is_flag=True, help="Only say how much memory and how many steps it takes.")
@click.option("--json", "as_json", is_flag=True, help="The last line is one JSON object: the metrics.")
@click.pass_obj
def train(
    session: Session,
    /,
    recipe: Path | None,
    out: Path | None,
    figure: bool,
    estimate: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a LoRA adapter on chats; the flags override the RECIPE.

    Cut off at any moment, the same command goes on from its last checkpoint and gives the same adapter. Exit
    code 3 when it was asked to stop (TERM, Ctrl-C) and saved one.
    """
    from nightlab.training.recipe import read_recipe

    given["targets"] = given["targets"] or None
    wanted = read_recipe(recipe, given)
    if estimate:
        _estimate(wanted, as_json)
        return
    from nightlab.training.run import train as start

    folder = out or _folder(session, wanted)
    with _stop_signals() as stopped:
        say = partial(click.echo, err=as_json)
        card = start(wanted, folder, say=say, stopped=stopped, figure=figure)
    _show(card, folder, as_json)


def _folder(session: Session, /, recipe: Recipe) -> Path:
    """The lab's folder for a training that names none: its data, model, rank and seed."""
    model = recipe.model.rstrip("/").replace(":", "/").rpartition("/")[2]
    return session.lab().trained / f"{Path(recipe.data).stem}-{model}-r{recipe.rank}-s{recipe.seed}"


def _show(card: dict[str, Any], folder: Path, as_json: bool) -> None:
    metrics = card["metrics"]
    if as_json:
        click.echo(json.dumps({**metrics, "adapter": str(folder), "sha256": card["adapter_sha256"]}))
        return
    held = metrics["held_out_loss"]
    measured = "" if held is None else f", held-out loss {metrics['held_out_loss_before']:.3f} to {held:.3f}"
    click.echo(f"{folder}: rank {metrics['rank']}, {metrics['steps']} steps, {metrics['seconds']:.0f} s{measured}")
    curve = folder / "figs" / "loss.png"
    told = f"; its loss curve: {curve}" if curve.is_file() else ""
    click.echo(f"Its card: {folder / 'provenance.json'}{told}")


def _estimate(recipe: Recipe, as_json: bool) -> None:
    """Say the memory on one GPU, and the steps where the data are here."""
    from nightlab.training.chats import held_out, read_chats
    from nightlab.training.memory import estimate as needed

    found, data = needed(recipe), Path(recipe.data).expanduser()
    steps, told = recipe.steps, f"how many steps: the data are not here ({data})"
    if data.is_file():
        learned, _ = held_out(read_chats(data).rows, recipe.held_out, recipe.seed)
        steps = recipe.steps_for(len(learned))
        most = "" if recipe.steps else "at most "
        told = f"{most}{steps} steps of {recipe.batch} chats, of {len(learned)} to learn from"
        told += f"; chats above max_length ({recipe.max_length} tokens) are left out, and not counted here"
    click.echo(json.dumps(found.document() | {"steps": steps}) if as_json else f"{found.text()}\n{told}")


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """TERM and Ctrl-C ask the training to stop after its step; a second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, action in before.items():
            signal.signal(number, action)
