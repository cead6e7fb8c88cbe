"""`nightlab serve`: one model behind an OpenAI-compatible API, in the foreground, on this machine only."""

from __future__ import annotations

import click


@click.command()
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--served-name", metavar="NAME", help="The model name that requests use.  [default: the folder's name]")
@click.option("--adapter", "adapters", multiple=True, metavar="NAME=PATH", help="Load an adapter; may be repeated.")
def serve(model: str, host: str, port: int, served_name: str | None, adapters: tuple[str, ...]) -> None:
    """Serve MODEL, a folder or practice:NAME, until interrupted."""
    from nightlab.errors import UsageError

    named = dict(pair.split("=", 1) for pair in adapters if "=" in pair)
    if len(named) != len(adapters):
        raise UsageError("--adapter takes NAME=PATH, and each name once", hint="--adapter sarcasm=path/to/adapter")
    from nightlab.servers.embedded.main import serve as start

    start(model, host=host, port=port, served_name=served_name, adapters=named)
