"""A command group that imports a command when it is called, and turns our errors into one sentence and an exit code."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from nightlab.errors import NightlabError, StorageError, nearest
from nightlab.files import storage


@dataclass(frozen=True)
class Command:
    """Where a command stands (`module:name`), and its line in the help."""

    target: str
    help: str

    def load(self) -> click.Command:
        """Import the command."""
        module, name = self.target.split(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found


class LazyGroup(click.Group):
    """The top command: its help needs no command module, its errors need no traceback."""

    def __init__(self, *args: Any, lazy: Mapping[str, Command], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        return self.lazy[cmd_name].load() if cmd_name in self.lazy else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args[0] not in self.lazy and not args[0].startswith("-"):
            close = nearest(args[0], self.lazy)
            hint = f"Did you mean {close}?" if close else "`nightlab --help` lists the commands."
            ctx.fail(f"No command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.lazy.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours becomes its sentence on stderr and its exit code."""
        try:
            return super().invoke(ctx)
        except (NightlabError, OSError) as problem:
            error = problem if isinstance(problem, NightlabError) else _refused(problem)
            if error is None or ctx.params.get("debug"):
                raise
            click.echo(f"nightlab: {error}", err=True)
            ctx.exit(error.exit_code)


def _refused(problem: OSError) -> StorageError | None:
    """The disk's refusal as our own error, or None where it is another failure."""
    try:
        with storage(Path(str(problem.filename or "."))):
            raise problem
    except StorageError as error:
        return error
    except OSError:
        return None
