"""`nightlab diagnose`: the root cause of a failed model server, from its log alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nightlab.cli.session import Session, columns, json_option, print_json

if TYPE_CHECKING:
    from nightlab.servers.failures import Diagnosis

HEALTHY, KNOWN, UNKNOWN = 0, 1, 3
STARTED = "started"
_PREFIX = re.compile(r"^(?:\([\w.-]+ pid=\d+\) ?)?(?:[A-Z]+ \d\d-\d\d [\d:]{8} \[[\w./-]+:\d+\] ?)?")


@click.command()
@click.argument("logfile", metavar="LOGFILE|SERVER|-")
@click.option("--stopped", is_flag=True, help="We ended the server ourselves: a dying engine is no finding.")
@json_option
@click.pass_obj
def diagnose(session: Session, logfile: str, stopped: bool, as_json: bool) -> None:
    """Name the root cause in the log of a model server (a file, a server of this lab, or - for standard input).

    Exit code 0: nothing is wrong in it (class null). 1: a known failure. 3: it failed in a way that is not known. With
    --json the keys are class, cause, remedy, confidence, line, context, number, stage, reached (how far the start
    came), whose, steps, failed.
    """
    from nightlab.errors import LabError, UsageError
    from nightlab.servers.engines import stage_of
    from nightlab.servers.failures import catalogue, looks_failed
    from nightlab.servers.failures import diagnose as read

    try:
        known = catalogue(session.lab().failures)
    except LabError:
        if session.folder is not None:
            raise
        known = catalogue()
    text = _text(session, logfile)
    if not text.strip():
        raise UsageError("the log is empty: it does not say how the server fares", where=logfile)
    found = read(text, stopped=stopped, known=known)
    failed = found.cls is not None or (not stopped and looks_failed(text))
    reached = stage_of(text)
    if as_json:
        print_json(_row(found, failed, reached))
    else:
        click.echo("\n".join(_lines(found, failed, reached)))
    raise SystemExit(KNOWN if found.cls is not None else UNKNOWN if failed else HEALTHY)


def _text(session: Session, name: str) -> str:
    """The log of a file, of standard input, or of a server of the lab."""
    from nightlab.errors import UsageError
    from nightlab.servers.failures import read_log

    if name == "-":
        return sys.stdin.buffer.read().decode("utf-8", errors="replace")
    path = Path(name)
    if path.is_file():
        return read_log(path)
    if path.exists() or "/" in name or "." in name:
        raise UsageError("not a log file" if path.exists() else "no such file", where=path)
    from nightlab.servers.manifest import load

    lab = session.lab()
    log = load(lab, name).log
    if log is None:
        raise UsageError(f"the server {name} has no log: it was never started", where=lab.servers)
    return read_log(lab.root / log)


def _row(found: Diagnosis, failed: bool, reached: str | None) -> dict[str, Any]:
    return {
        "class": found.cls,
        "cause": found.cause,
        "remedy": list(found.remedy) if failed else [],
        "confidence": found.confidence,
        "line": found.line,
        "context": list(found.context),
        "number": found.number,
        "stage": found.stage,
        "reached": reached,
        "whose": found.whose if failed else None,
        "steps": [{step.verb: step.of, **step.bounds} for step in found.ladder],
        "failed": failed,
    }


def _said(line: str) -> str:
    """A line of vLLM's log without its process, level, time and place, which leave no room for what it says."""
    return _PREFIX.sub("", line) or line


def _lines(found: Diagnosis, failed: bool, reached: str | None) -> list[str]:
    from nightlab.morning.text import clean, wrap

    width = min(columns(), 100)
    if not failed:
        came = "" if reached in (None, STARTED) else f"; the start came as far as: {reached}"
        return [f"nothing is wrong in this log{came}"]
    lines = wrap(f"{found.cls or 'unknown'}: {found.cause}", width, rest="  ")
    mark = f"  > {found.number}: " if found.number else "  > "
    whole = wrap(_said(found.line), width, first=mark, rest=" " * len(mark)) if found.line else []
    if found.context:
        first = (found.number or 1) - next((i for i, line in enumerate(found.context) if line == found.line), 0)
        for number, line in enumerate(found.context, first):
            lines += whole if line == found.line else [f"    {number}: {clean(_said(line), width - 12)}"]
    else:
        lines += whole
    lines += [] if reached is None else [f"  the start came as far as: {reached}"]
    whose = "" if found.whose == "ours" else " (for a person)"
    lines += [line for step in found.remedy for line in wrap(f"{step}{whose}", width, first="  - ", rest="    ")]
    return lines
