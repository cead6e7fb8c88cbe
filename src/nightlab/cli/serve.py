"""`nightlab serve`: one model behind an OpenAI-compatible API, in the foreground, on this machine only."""

from __future__ import annotations

import click


@click.command()
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--served-name", metavar="NAME", help="The model name that requests use.  [default: the folder]")
@click.option("--adapter", "adapters", multiple=True, metavar="NAME=PATH", help="Load an adapter; may be repeated.")
@click.option("--device", default="cpu", show_default=True, help="Where torch computes: cpu, cuda, cuda:1.")
@click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--max-model-len", type=click.IntRange(16), help="Tokens of a prompt and its answer.  [default: all]")
def serve(
    model: str,
    host: str,
    port: int,
    served_name: str | None,
    adapters: tuple[str, ...],
    device: str,
    dtype: str,
    max_model_len: int | None,
) -> None:
    """Serve MODEL, a folder or practice:NAME, until interrupted."""
    from nightlab.cli.places import place_of
    from nightlab.errors import UsageError

    named = {name: place_of(path) for name, _, path in (pair.partition("=") for pair in adapters) if path}
    if len(named) != len(adapters):
        raise UsageError("--adapter takes NAME=PATH, and each name once", hint="--adapter sarcasm=path/to/adapter")
    from nightlab.servers.embedded.main import serve as start

    start(
        place_of(model),
        host=host,
        port=port,
        served_name=served_name,
        adapters=named,
        device=device,
        dtype="float32" if dtype == "auto" else dtype,
        max_model_len=max_model_len,
    )
