"""The end of a night, by code alone: servers freed, what was gathered reported and recorded, the record committed.

Each step is done once and looks at what is there, so a wrap-up that was cut off is simply done again; a step that fails
is an event, and the next one is taken.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from nightlab.budget import Budget, Limits
from nightlab.compute import open_place
from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.evidence.progress import progress
from nightlab.evidence.rows import read_rows
from nightlab.experiments.lock import read_lock
from nightlab.lab import Lab
from nightlab.night.auditing import audit_touched
from nightlab.night.contradictions import raise_contradictions
from nightlab.night.control import left_unread
from nightlab.night.lock import LabLock
from nightlab.night.notebooks import execute_notebooks
from nightlab.night.options import Ending, Result
from nightlab.night.publish import repository, say_branch
from nightlab.night.reporting import analyze_experiment, report_experiment
from nightlab.night.state import closing_key
from nightlab.record.diary import Diary
from nightlab.record.entry import touched, write_entry
from nightlab.record.repository import SecretFound
from nightlab.servers.leases import keep
from nightlab.servers.manifest import list_servers
from nightlab.servers.server import Server


def wrap_up(lab: Lab, night: str, events: EventLog, state: Ending, why: str) -> Ending:
    """Free, report and record what the night leaves; returns how it ended (failed where a step could not be done)."""
    events.once(f"{night}/wrap-up", "wrap_up", why=why)
    left_unread(lab, night, events)
    steps: dict[str, Callable[[], None]] = {
        "servers": lambda: stop_servers(lab, night, events),
        "reports": lambda: report_rest(lab, events),
        "notebooks": lambda: execute_notebooks(lab, events),
        "branch": lambda: say_branch(lab, events),
        "audit": lambda: audit_touched(lab, events),
        "diary": lambda: write_entry(lab, night),
    }
    for name, step in steps.items():
        try:
            step()
        except NightlabError as error:
            events.emit("error", where=f"wrap-up: {name}", what=str(error))
            state = "failed"
        except Exception as error:  # noqa: BLE001 - a defect in one step must not cost the others; its trace is kept
            what = f"{type(error).__name__}: {error}"
            events.emit("error", where=f"wrap-up: {name}", what=what, trace=traceback.format_exc()[-8000:])
            state = "failed"
    events.once(f"{night}/diary", "diary", path=lab.relative(lab.diary))
    events.once(f"{night}/ended", "night_ended", state=state, why=why)
    return state


def stop_servers(lab: Lab, night: str, events: EventLog) -> None:
    """Stop every server of this night, but those that it keeps for the next one."""

    async def end(server: Server) -> None:
        wanted = server.manifest.keep_seconds and server.manifest.state == "ready"
        if wanted and await asyncio.to_thread(server.alive):
            await keep(server, events)
        else:
            await server.stop(events)

    async def all_of_them() -> None:
        mine = [m for m in list_servers(lab) if m.night == night and m.lives]
        await asyncio.gather(*(end(Server(lab, open_place(lab, m.place), m)) for m in mine))

    asyncio.run(all_of_them())


def report_rest(lab: Lab, events: EventLog) -> None:
    """Report every experiment of the night whose rows are newer than its report."""
    for name in touched(events.read()):
        folder = lab.experiment(name)
        if read_lock(folder) is None or progress(lab, name).reported or not read_rows(folder).samples:
            continue
        analysis = analyze_experiment(lab, name)
        raise_contradictions(lab, events.path.parent.name, events, name, analysis.claims)
        path = report_experiment(lab, name)
        events.emit("report", experiment=name, path=lab.relative(path))


def close_night(lab: Lab, night: str, brief: Callable[[Lab], Path] | None) -> str | None:
    """Write the brief and make the night's last commit, once; its hash, or None where nothing changed."""
    if brief:
        brief(lab)
    folder = lab.night(night)
    names = touched(EventLog(folder).read())
    paths = [lab.state, lab.notes, lab.proposals, *(lab.experiments / name for name in names)]
    return _last_commit(lab, night, [path for path in paths if path.exists()])


def close_unclosed(lab: Lab, night: str, brief: Callable[[Lab], Path] | None) -> Result | None:
    """Make the last commit of a night that was cut off before it; None where there is nothing left to commit."""
    with LabLock(lab.lock).hold(night):
        closed = close_night(lab, night, brief)
    return None if closed is None else result_of(lab, night)


def finish_night(lab: Lab, night: str, state: Ending, why: str, brief: Callable[[Lab], Path] | None) -> Result:
    """End a night whose process is gone, by code: what is missing of its wrap-up, and its last commit."""
    with LabLock(lab.lock).hold(night):
        events = EventLog(lab.night(night))
        if not events.last("night_ended"):
            wrap_up(lab, night, events, state, why)
        events.close()
        close_night(lab, night, brief)
    return result_of(lab, night)


def result_of(lab: Lab, night: str) -> Result:
    """How a night that is over ended, from its files."""
    rows = list(EventLog(lab.night(night)).read())
    ended = next(row for row in reversed(rows) if row["kind"] == "night_ended")
    seconds = (datetime.fromisoformat(ended["t"]) - datetime.fromisoformat(rows[0]["t"])).total_seconds()
    spent = Budget(lab.night(night) / "ledger.jsonl", Limits()).spent()
    return Result(night, ended["state"], ended["why"], open_questions(lab), max(0.0, seconds), spent.usd)


def open_questions(lab: Lab) -> int:
    """How many questions of the diary nobody has answered."""
    return sum(question.open for question in Diary(lab.diary).questions())


def _last_commit(lab: Lab, night: str, paths: list[Path]) -> str | None:
    """Commit the record; files that seem to hold a secret stay out of it, and the commit says so."""
    repo, trailers = repository(lab), {"Nightlab-Night": night}
    message = f"Night {night}: record"
    try:
        return repo.commit(paths, message, trailers, key=closing_key(night))
    except SecretFound as error:
        withheld = sorted({leak.path for leak in error.leaks})
        message += "\n\nLeft out, they seem to hold a secret:\n" + "\n".join(withheld)
        return repo.commit(paths, message, trailers, key=closing_key(night), without=withheld)
