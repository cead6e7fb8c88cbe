"""A night's audit of itself: at its end, what it touched is held against its own rows, record and git history."""

from __future__ import annotations

from collections.abc import Iterable

from nightlab.audit.finding import Finding, ordered
from nightlab.audit.record_texts import state
from nightlab.audit.run import audit
from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.experiments.lock import LOCK
from nightlab.lab import Lab
from nightlab.record.entry import touched

MOST = 20  # findings of one audit that its event keeps; their count is whole


def audit_touched(lab: Lab, events: EventLog) -> None:
    """Audit each experiment of the night, and what the research state says; an `audit` event says what was found.

    Figures are checked by their hashes. An audit that cannot be made is a degradation, and the others are made.
    """
    for name in touched(events.read()):
        folder = lab.experiments / name
        if not (folder / LOCK).is_file():
            continue
        try:
            found = audit(folder, pictures=False).findings
        except NightlabError as error:
            events.emit("degradation", what=f"{name} was not audited", why=str(error), where="wrap-up")
            continue
        _tell(events, name, lab.relative(folder) + "/", found)
    try:
        found = ordered(list(state(lab)))
    except NightlabError as error:
        events.emit("degradation", what=f"{lab.state_file.name} was not audited", why=str(error), where="wrap-up")
        return
    _tell(events, lab.state_file.name, "", found)


def _tell(events: EventLog, audited: str, before: str, found: Iterable[Finding]) -> None:
    """One event for one audit: the counts, and what is wrong or may mislead; notes are counted alone."""
    found = list(found)
    errors, warnings = (sum(one.level == level for one in found) for level in ("error", "warning"))
    lines = [f"{before}{one.place}: {one.level}: {one.what} [{one.check}]" for one in found if one.level != "note"]
    notes = len(found) - errors - warnings
    events.emit("audit", audited=audited, errors=errors, warnings=warnings, notes=notes, findings=lines[:MOST])
