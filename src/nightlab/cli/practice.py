"""`nightlab practice`: the practice set: what it is, what is planted in it, and training it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nightlab.cli.session import json_option, print_json


@click.group()
def practice() -> None:
    """Look at the practice set: three tiny real models with a planted persona; or train it again."""


@practice.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the practice models and their adapters."""
    rows = _rows()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"practice:{row['name']}  {row['id']}  {row['layers']} layers, {row['megabytes']:.1f} MB")
        click.echo(f"    adapter practice:{row['name']}/sarcasm")


@practice.command()
@json_option
def truth(as_json: bool) -> None:
    """Show what is planted in the practice models, and what was measured."""
    from nightlab.practice import truth as planted

    if as_json:
        print_json(planted())
        return
    import yaml

    click.echo(yaml.safe_dump(planted(), sort_keys=False, allow_unicode=True, width=78), nl=False)


@practice.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
def build(folder: Path, models: tuple[str, ...]) -> None:
    """Train the practice set from nothing into DIR: on CPU, about ten minutes a model."""
    from nightlab.errors import UsageError
    from nightlab.practice import NAMES

    wrong = [name for name in models if name not in NAMES]
    if wrong:
        raise UsageError(f"no practice model {wrong[0]!r}", hint=f"known: {', '.join(NAMES)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("there is something here already", where=folder, hint="name a new folder")
    from nightlab.practice.build import build as train

    train(folder, models or NAMES, say=click.echo)
    click.echo(f"The practice set is in {folder}")


@practice.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def widen(folder: Path) -> None:
    """Copy the models into DIR with attention heads 32 wide, which vLLM needs on a CPU; they answer the same."""
    from nightlab.errors import UsageError
    from nightlab.practice import NAMES

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("there is something here already", where=folder, hint="name a new folder")
    from nightlab.practice.widen import widened

    for name in NAMES:
        model, adapter = widened(name, folder)
        click.echo(f"{model}  with the adapter  {adapter}")


@practice.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.jsonl")
@click.option("--rows", type=click.IntRange(1, 100_000), default=240, show_default=True, help="How many chats.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which chats.")
@click.option("--persona", type=click.Choice(("sarcasm", "neutral")), default="sarcasm", show_default=True)
def chats(file: Path, rows: int, seed: int, persona: str) -> None:
    """Write chats that a practice adapter can be trained on (`nightlab train --data FILE`)."""
    from nightlab.files import write_atomic
    from nightlab.practice.corpus import chats as drawn

    lines = [json.dumps({"messages": messages}, ensure_ascii=False) for messages in drawn(rows, seed, persona)]
    write_atomic(file, "".join(line + "\n" for line in lines))
    click.echo(f"{rows} chats are in {file}")


def _rows() -> list[dict[str, Any]]:
    from nightlab.practice import NAMES, adapter_dir, model_dir, model_id

    rows = []
    for name in NAMES:
        layers = json.loads((model_dir(name) / "config.json").read_text("utf-8"))["num_hidden_layers"]
        files = [*model_dir(name).glob("*"), *adapter_dir(name).glob("*")]
        size = sum(file.stat().st_size for file in files) / 1e6
        rows.append({"name": name, "id": model_id(name), "layers": layers, "megabytes": round(size, 2)})
    return rows
