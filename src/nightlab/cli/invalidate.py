"""`nightlab invalidate`: rows that turned out to be wrong stop counting, and what rested on them is struck through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nightlab.cli.session import Session, json_option, print_json

if TYPE_CHECKING:
    from nightlab.judging.invalid import Selection
    from nightlab.lab import Lab
    from nightlab.night.invalidation import Invalidated


@click.command()
@click.option("--server", metavar="ID", help="All answers of this server.")
@click.option("--samples", metavar="QUERY", help='Answers by their fields: "model=llama condition=base".')
@click.option("--judgments", metavar="BATCH", help='Judgments of a batch, or by fields: "judge=NAME".')
@click.option("--experiment", metavar="EXP", help="Only in this experiment; else in all of the lab.")
@click.option("--why", required=True, metavar="TEXT", help="The reason; it stands wherever a claim is struck.")
@click.option("--dry-run", is_flag=True, help="Only say what would follow.")
@json_option
@click.pass_obj
def invalidate(
    session: Session,
    server: str | None,
    samples: str | None,
    judgments: str | None,
    experiment: str | None,
    why: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Mark rows as invalid. They stay in their files and no longer count; nothing is deleted.

    Verdicts and claims are computed anew. Claims that changed are struck through, with an update, in the report, the
    diary and RESEARCH_STATE.md. The experiment goes back into the queue: its next sweep asks the marked cells alone.
    """
    from nightlab.night.invalidation import invalidate as run
    from nightlab.night.invalidation import nothing_hit

    lab = session.lab()
    selection = _selection(server, samples, judgments)
    if dry_run:
        found = run(lab, selection, why, lab.config.human, experiment=experiment, dry_run=True)
    else:
        found = _write(lab, selection, why, experiment)
    nothing = "" if found else nothing_hit(lab, selection, experiment)
    if as_json:
        print_json({"dry_run": dry_run, "selection": str(selection), "experiments": [one.document() for one in found]})
        return
    click.echo("\n".join(line for one in found for line in _lines(one, dry_run)) or nothing)


def _selection(server: str | None, samples: str | None, judgments: str | None) -> Selection:
    """What was asked for, as one selection. Raises UsageError."""
    from nightlab.errors import UsageError
    from nightlab.judging.invalid import Selection, fields_of

    fields = fields_of(samples or "")
    if server is not None and fields.setdefault("server", server) != server:
        raise UsageError("two different servers are named", hint="give one of --server and server= in --samples")
    judged = fields_of(judgments if "=" in judgments else f"batch={judgments}") if judgments else {}
    return Selection(fields, judged)


def _write(lab: Lab, selection: Selection, why: str, experiment: str | None) -> list[Invalidated]:
    """Invalidate and commit, while no night writes the lab. Raises LockHeld."""
    from nightlab.night.invalidation import invalidate as run
    from nightlab.night.lock import LabLock
    from nightlab.night.publish import repository

    repo = repository(lab)
    repo.check()
    with LabLock(lab.lock).hold("invalidate"):
        found = run(lab, selection, why, lab.config.human, experiment=experiment)
        if found:
            paths = [lab.experiments / one.experiment for one in found] + [lab.state_file, lab.diary]
            subject = f"Invalidate {selection}"[:120]
            repo.commit([path for path in paths if path.exists()], f"{subject}\n\n{why}", {})
    return found


def _lines(found: Invalidated, dry_run: bool) -> list[str]:
    word = "would be marked" if dry_run else "marked"
    lines = [f"{found.experiment}: {found.samples} answers and {found.judgments} judgments {word}"]
    lines += [f"  {change.hypothesis} {change.was} -> {change.now}: {change.claim}" for change in found.flipped]
    kept = [change.claim for change in found.changes if not change.flipped]
    lines += [f"  still holds with other numbers: {', '.join(kept)}"] if kept else []
    lines += [f"  struck: {line.strip()[:100]}" for line in found.struck]
    again = ", ".join(f"{count} of {model}" for model, count in found.again.items())
    return [*lines, f"  asked again by the next sweep: {again}"] if again else lines
