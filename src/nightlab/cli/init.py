"""`nightlab init`: a new lab, or what an existing repository lacks to be one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nightlab.founding import Survey


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".", metavar="[DIR]")
@click.option("--git", is_flag=True, help="Make a folder that has files a git repository.")
@click.option("--dry-run", is_flag=True, help="Only list what would be added.")
def init(folder: Path, git: bool, dry_run: bool) -> None:
    """Make a new lab in DIR, or add to DIR what it lacks to be one; nothing is overwritten."""
    from nightlab import founding

    found = founding.survey(folder, git=git)
    _show(found)
    if dry_run:
        return
    founding.init(found)
    _next(folder, found)


def _show(found: Survey) -> None:
    if not found.missing:
        click.echo(f"{found.root} is a complete lab already; nothing to add.")
        return
    click.echo(f"{'New lab' if found.is_new else 'Adding to'} {found.root}:")
    for name in sorted(found.missing):
        click.echo(f"  {'+' if not (found.root / name).exists() else '~ (adds lines to)'} {name}")
    if found.kept:
        click.echo(f"  {len(found.kept)} files are there already and stay as they are")


def _next(folder: Path, found: Survey) -> None:
    if found.is_repository and found.missing:
        click.echo(f"Not committed yet: git -C {folder} add -- {' '.join(sorted(_tops(found.missing)))}")
    click.echo("Next:")
    click.echo(f"  1  write your question in {folder / 'state' / 'RESEARCH_STATE.md'}")
    click.echo(f"  2  nightlab --lab {folder} doctor")
    click.echo(f"  3  nightlab --lab {folder} run --hours 8")


def _tops(names: Iterable[str]) -> set[str]:
    """The top-level entries that hold these files."""
    return {name.split("/")[0] for name in names}
