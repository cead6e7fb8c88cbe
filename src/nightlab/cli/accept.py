"""`nightlab accept`: what agents proposed (skills, tools, known failures); a person makes one part of the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nightlab.cli.session import Session, columns, json_option, print_json

if TYPE_CHECKING:
    from nightlab.lab import Lab
    from nightlab.proposals import Proposal


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--show", is_flag=True, help="Show what would change, and change nothing.")
@json_option
@click.pass_obj
def accept(session: Session, name: str | None, show: bool, as_json: bool) -> None:
    """Accept the proposal NAME: show what changes, put it where it takes effect, commit. Without NAME, list them.

    A tool is code that nights will run with your rights: read it first, with --show. To turn a proposal down, delete
    its folder.
    """
    from nightlab import proposals
    from nightlab.morning.text import clean

    lab = session.lab()
    if name is None:
        _list(lab, proposals.open_ones(lab), as_json)
        return
    proposal = proposals.find(lab, name)
    change = "\n".join(clean(line, 400) for line in proposals.difference(lab, proposal).splitlines())
    told = _row(lab, proposal)
    if not as_json:
        click.echo("\n".join(_lines(told)) + f"\n\n{change}\n")
    if show:
        if as_json:
            print_json(told | {"accepted": False, "diff": change})
        return
    sha = _accept(lab, proposal)
    if as_json:
        print_json(told | {"accepted": True, "diff": change, "commit": sha})
    else:
        click.echo(f"accepted: {proposal.target}" + (f", commit {sha[:10]}" if sha else ""))
        click.echo(_from_now_on(proposal))


def _from_now_on(proposal: Proposal) -> str:
    if proposal.kind == "failure":
        return f"Servers that fail so are diagnosed as {proposal.name} from now on."
    return f"Agents use it when `{proposal.kind}s:` of their file in agents/ lists {proposal.name}."


def _accept(lab: Lab, proposal: Proposal) -> str | None:
    from nightlab import proposals
    from nightlab.night.publish import repository

    repo = repository(lab)
    repo.check()
    changed = proposals.accept(lab, proposal)
    subject = f"Accept the {proposal.kind} {proposal.name}"
    return repo.commit(changed, f"{subject}\n\n{proposal.why}".strip(), {"Nightlab-Proposed-By": proposal.agent or "?"})


def _list(lab: Lab, found: list[Proposal], as_json: bool) -> None:
    if as_json:
        print_json([_row(lab, one) for one in found])
        return
    for one in found:
        click.echo("\n".join(_lines(_row(lab, one))) + "\n")
    click.echo("Accept with: nightlab accept NAME" if found else "Nothing is proposed.")


def _row(lab: Lab, one: Proposal) -> dict[str, Any]:
    told = {"kind": one.kind, "name": one.name, "path": lab.relative(one.path), "target": one.target}
    return told | {"why": one.why, "agent": one.agent, "night": one.night, "problem": one.problem}


def _lines(row: dict[str, Any]) -> list[str]:
    from nightlab.morning.text import wrap

    width = min(columns(), 100)
    by = f"by {row['agent']}, night {row['night']}" if row["agent"] else ""
    facts = [("why", row["why"]), ("file", row["path"]), ("proposed", by), ("problem", row["problem"] or "")]
    lines = [f"{row['kind']} {row['name']}"]
    for key, value in facts:
        if value:
            lines += wrap(f"{key}: {value}", width, first="    ", rest="      ")
    return lines
