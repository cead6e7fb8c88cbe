"""`nightlab condition`: what a condition file means for a model, layer by layer."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import click

from nightlab.cli.session import json_option, print_json


@click.group()
def condition() -> None:
    """Look at the conditions of an experiment."""


@condition.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="M", help="A model folder, practice:NAME, or a number of layers.")
@json_option
def show(file: Path, model: str, as_json: bool) -> None:
    """Show the weight that FILE gives to every layer of model M."""
    from nightlab.adapters.amplification import Amplification

    layers = num_layers(model)
    amplification = Amplification.load(file)
    resolved = amplification.resolve(layers)
    if as_json:
        rows = {name: {"attention": w.attention, "mlp": w.mlp} for name, w in resolved.items()}
        print_json({"condition": amplification.name, "model": model, "layers": layers, "weights": rows})
        return
    click.echo(f"{amplification.name} on {model}, {layers} layers")
    if not resolved:
        click.echo("no adapter: this is the base model")
    for name, weights in resolved.items():
        click.echo(f"\n{name}\n  layers     attention        mlp")
        for span, (attention, mlp) in runs(list(zip(weights.attention, weights.mlp, strict=True))):
            click.echo(f"  {span:<9}  {attention:>9.6g}  {mlp:>9.6g}")


def runs(rows: list[tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    """Neighbouring layers of equal weights as one row: `0-3` and their weights."""
    found, start = [], 0
    for pair, same in groupby(rows):
        end = start + len(list(same)) - 1
        found.append((f"{start}" if start == end else f"{start}-{end}", pair))
        start = end + 1
    return found


def num_layers(model: str) -> int:
    """The number of layers of a model: given as such, or read from its config.json. Raises UsageError."""
    from nightlab.cli.places import place_of
    from nightlab.errors import UsageError
    from nightlab.files import read_text

    if model.isdigit():
        return int(model)
    config = place_of(model) / "config.json"
    try:
        data = json.loads(read_text(config, UsageError))
        return int(data.get("text_config", data)["num_hidden_layers"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("no num_hidden_layers in this config.json", where=config) from error
