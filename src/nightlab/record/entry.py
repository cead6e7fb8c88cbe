"""The diary entry of a night, made by code from its events: what it did, found, mended and left open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.evidence.cited import claims_of, withdrawn_of
from nightlab.evidence.progress import progress
from nightlab.lab import Lab
from nightlab.record.diary import Diary
from nightlab.record.state import ResearchState

MOST = 40  # lines of one section
LONGEST_WORDS = 300  # characters of what a person said
Row = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """What the record of a night gives for its entry: title, sections, date, and the experiments it touched."""

    title: str
    sections: dict[str, str]
    date: str | None
    experiments: list[str]


def write_entry(lab: Lab, night: str) -> None:
    """Write the night's entry, or rewrite its own text; the agent's words (its `diary` event) stand first."""
    entry = entry_of(lab, night)
    Diary(lab.diary).add_entry(night, entry.title, entry.sections, date=entry.date)


def entry_of(lab: Lab, night: str) -> Entry:
    """The entry of a night as its events and today's claims give it."""
    events = _last_audits(list(EventLog(lab.night(night)).read()))
    names = touched(events)
    said: Row = next((row for row in reversed(events) if row["kind"] == "diary" and "title" in row), {})
    sections = {
        "Session summary": "\n\n".join(filter(None, (said.get("summary"), _summary(lab, events, names)))),
        "What I did": _bullets(_done(events)),
        "Findings": _bullets(line for name in names for line in _findings(lab, name)),
        "Problems and fixes": _bullets(_problems(events)),
        "Next session": "\n\n".join(filter(None, (said.get("next_session"), _bullets(_queue(lab))))),
    }
    return Entry(said.get("title") or default_title(names), sections, local_date(events), names)


def _findings(lab: Lab, experiment: str) -> Iterator[str]:
    """The claims of an experiment, those that were withdrawn struck through."""
    try:
        cited = [*withdrawn_of(lab, experiment), *claims_of(lab, experiment)]
    except NightlabError as error:
        yield _unread(lab, experiment, error)
        return
    yield from (f"`{name}` {text}" for name, text in cited)


def _unread(lab: Lab, what: str, error: NightlabError) -> str:
    """What stands in the entry in the place of a file that cannot be read: the rest of the entry is written."""
    return f"{what} cannot be read: {error.what} ({lab.relative(Path(error.where or lab.root))})."


def _last_audits(events: list[Row]) -> list[Row]:
    """The events without the audits that were made again, as by a wrap-up that was cut off."""
    last = {row["audited"]: number for number, row in enumerate(events) if row["kind"] == "audit"}
    return [row for number, row in enumerate(events) if row["kind"] != "audit" or last[row["audited"]] == number]


def touched(events: Iterable[Row]) -> list[str]:
    """The experiments that the events name, in order."""
    return list(dict.fromkeys(str(row["experiment"]) for row in events if row.get("experiment")))


def default_title(names: list[str]) -> str:
    """A title by code."""
    return ", ".join(names) if names else "A night without an experiment"


def local_date(events: list[Row]) -> str | None:
    """The date of the night's beginning, where the lab is."""
    return datetime.fromisoformat(events[0]["t"]).astimezone().date().isoformat() if events else None


def _summary(lab: Lab, events: list[Row], names: list[str]) -> str:
    lines = []
    for name in names:
        try:
            now = progress(lab, name)
        except NightlabError as error:
            lines.append(_unread(lab, name, error))
            continue
        planned, answered = sum(now.planned.values()), sum(now.answered.values())
        lines.append(f"{name}: {answered} of {planned} cells answered, {now.judged} judged.")
    ended = next((row for row in reversed(events) if row["kind"] == "wrap_up"), None)
    return " ".join(lines) + (f" The night ended: {ended['why']}." if ended else "")


def _done(events: list[Row]) -> Iterator[str]:
    for row in events:
        match row["kind"]:
            case "plan_frozen":
                yield f"Froze {row['experiment']}: {row['cells']} cells, plan `{row['sha256'][:12]}`."
            case "server_ready":
                yield f"Proved the server `{row['server']}` of {row['model']}."
            case "sweep_finished":
                models = ", ".join(row["models"])
                yield f"Asked {models} of {row['experiment']}: {_there(row)} cells answered."
            case "judging_finished":
                yield f"Judged {_there(row)} samples, {row['na']} without a score."
            case "report":
                yield f"Compiled `{row['path']}`."
            case "audit":
                yield f"Audited {row['audited']}: {counted(row)}."
            case "said":
                heard = "Read" if row["read"] else "Too late to be read:"
                yield f"{heard} what {row['by']} said: “{row['text'][:LONGEST_WORDS]}”"
            case "budget_changed":
                yield f"{row['by']} changed the limits: {_limits(row['limits'])}."
            case "paused" | "unpaused":
                yield f"{row['by']} {'paused' if row['kind'] == 'paused' else 'went on with'} the night."
            case "stop_asked":
                yield f"{row['by']} asked the night to end{' at once' if row['now'] else ''}."
            case _:
                pass


def _there(row: Row) -> str:
    """How much of a work is done, however often it was cut off on the way."""
    return f"{row['planned'] - row['missing']} of {row['planned']}"


def counted(audit: Row) -> str:
    """What an audit found, in counts."""
    told = [f"{audit[level]} {level}" for level in ("errors", "warnings", "notes") if audit[level]]
    return ", ".join(told) or "nothing found"


def _limits(limits: Row) -> str:
    told = [f"${limits['usd']:g}"] if limits.get("usd") is not None else []
    told += [f"{limits['gpu_seconds'] / 3600:g} GPU h"] if limits.get("gpu_seconds") is not None else []
    if limits.get("deadline") is not None:
        told.append(f"until {datetime.fromtimestamp(limits['deadline']).astimezone():%H:%M on %d %b}")
    return ", ".join(told) or "none"


def _problems(events: list[Row]) -> Iterator[str]:
    for row in events:
        match row["kind"]:
            case "server_failed":
                yield f"The server of {row['model']} failed ({row['failure']}): {row['error']}"
            case "correction":
                changed = ", ".join(f"`{key}` to `{value}`" for key, value in row["changes"].items())
                yield f"Corrected the plan before it was frozen, {changed}: {row['why']}"
            case "degradation":
                yield f"{row['what']}: {row['why']}"
            case "worker_lost":
                yield f"The night's process was lost: {row['why']}; {'started again' if row['again'] else 'given up'}."
            case "audit":
                more = row["errors"] + row["warnings"] - len(row["findings"])
                yield from (f"Audit: {found}" for found in row["findings"])
                yield from [f"Audit: {more} more findings in {row['audited']}"] if more else []
            case "invalidation":
                yield f"Took {row['samples']} answers of {row['experiment']} out ({row['what']}): {row['why']}"
            case "error":
                yield f"An error that the night survived: {row['what']}"
            case _:
                pass


def _queue(lab: Lab) -> Iterator[str]:
    try:
        queue = ResearchState(lab.state_file).queue()
    except NightlabError as error:
        yield _unread(lab, "The queue", error)
        return
    yield from (
        f"{item.experiment} {item.text} ({item.status})" for item in queue if item.status in ("open", "partial")
    )


def _bullets(lines: Iterable[str]) -> str:
    shown = list(dict.fromkeys(" ".join(line.split()) for line in lines))
    more = [f"and {len(shown) - MOST} more"] if len(shown) > MOST else []
    return "\n".join(f"- {line}" for line in [*shown[:MOST], *more])
