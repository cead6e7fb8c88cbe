"""The brief: one screen that says what happened in the night and what it needs, written by code, after a crash too.

Sections in a fixed order: Needs you, Found, Failed, Spent, Next. Text that a model wrote stands in bounded slots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from nightlab.budget import Amounts
from nightlab.errors import NightlabError
from nightlab.files import now, write_atomic
from nightlab.lab import Lab
from nightlab.morning.beliefs import Belief, believed, to_do
from nightlab.morning.idle import Idle
from nightlab.morning.inbox import Question, open_questions
from nightlab.morning.layout import Item, Section, laid_out
from nightlab.morning.night import Story, Trouble, counts, spent, story, when
from nightlab.morning.text import clean, duration

FENCE = "```"
IDLE = 4  # lines about idle time
T = TypeVar("T")


@dataclass(frozen=True)
class Brief:
    """What a person needs to know of a night; `data` is its JSON form."""

    lab: str
    night: str | None
    state: str
    since: str
    reason: str
    doing: str
    seconds: float
    usd: float
    usd_limit: float | None
    gpu_hours: float
    servers: int
    kept: tuple[str, ...]
    """Servers that were left running on purpose, and until when."""
    commits: int
    cells: tuple[str, ...]
    questions: tuple[Question, ...]
    beliefs: tuple[Belief, ...]
    corrections: tuple[str, ...]
    troubles: tuple[Trouble, ...]
    next: tuple[str, ...]
    idle: tuple[Idle, ...] = ()
    left_open: tuple[str, ...] = ()
    early: float = 0.0
    """Seconds before its deadline that the night ended."""

    def data(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def text(self, columns: int = 60) -> str:
        """At most 25 lines, none wider than the columns or 60."""
        if self.night is None:
            return laid_out([f"{self.lab} · no night yet"], [self._needs(), self._next()], columns)
        return laid_out(self._head(), [*self._sections(), self._next()], columns)

    def _head(self) -> list[str]:
        end = f"{self.state} {'since ' if self.state in ('running', 'waiting', 'dead') else ''}{when(self.since)}"
        reason = f": {self.reason or self.doing}" if self.reason or self.doing else ""
        return [f"{self.lab} · night {self.night}", clean(end + reason, 110)]

    def _sections(self) -> list[Section]:
        found = [
            Item(b.id, " ".join(filter(None, (b.hypothesis, b.verdict + ":" * bool(b.verdict), b.text))))
            for b in self.beliefs
        ]
        failed = [_failed(trouble) for trouble in self.troubles]
        mended = [Item("", f"mended: {text}", lines=1) for text in self.corrections]
        return [
            self._needs(),
            Section("Found", tuple(found), "report.md", "nothing that is claimed", "; ".join(self.cells)),
            Section("Failed", (*failed, *mended), "nightlab tail", "nothing"),
            Section(
                "Spent",
                (Item("", self._spent(), (*self.kept, *(i.text(when(i.since)) for i in self.idle[:IDLE]))),),
                "nightlab status",
                "",
            ),
        ]

    def _needs(self) -> Section:
        items = tuple(_asked(question) for question in self.questions)
        return Section("Needs you", items, "nightlab inbox", "nothing", "nightlab reply ID TEXT")

    def _next(self) -> Section:
        again = ("nightlab run goes on with this night",) if self.state == "dead" else ()
        if self.left_open:
            early = f"{duration(self.early)} early" if self.early else "as it is"
            again = (f"ended {early}, still open: {clean(', '.join(self.left_open), 120)}",)
        return Section(
            "Next", tuple(Item("", t) for t in (*again, *self.next)), "RESEARCH_STATE.md", "the queue is empty"
        )

    def _spent(self) -> str:
        limit = f" of ${self.usd_limit:g}" if self.usd_limit else ""
        gpu = f" · {self.gpu_hours:.1f} GPU h" if self.gpu_hours else ""
        servers = f"{self.servers} server{'s' * (self.servers != 1)} running"
        return f"{duration(self.seconds)} · ${self.usd:.2f}{limit}{gpu} · {servers}"


def brief_of(lab: Lab, night: str | None = None) -> Brief:
    """The brief of a night (default: the newest), from files alone; a file that cannot be read is a trouble in it."""
    night = night or lab.latest_night()
    told = story(lab, night) if night else Story("")
    state, since, doing = _state(lab, night, told)
    paid = spent(lab, night).spent() if night else Amounts()
    unread: list[Trouble] = []
    return Brief(
        lab=clean(lab.root.name, 40),
        night=night,
        state=state,
        since=since,
        reason=told.reason,
        doing=doing,
        seconds=round(told.seconds(), 1),
        usd=paid.usd,
        usd_limit=told.limits.get("usd", lab.config.budget_usd),
        gpu_hours=paid.gpu_seconds / 3600,
        servers=_read(lambda: _running_servers(lab), 0, unread),
        kept=_read(lambda: _kept(lab), (), unread),
        commits=told.commits,
        cells=_read(lambda: tuple(_cells(lab, name) for name in told.experiments), (), unread),
        questions=_read(lambda: tuple(open_questions(lab)), (), unread),
        beliefs=_read(lambda: tuple(believed(lab, told.experiments)), (), unread),
        corrections=tuple(told.corrections),
        next=_read(lambda: tuple(to_do(lab)), (), unread),
        troubles=(*unread, *told.troubles.values()),
        idle=told.times.idle(),
        left_open=tuple(told.left_open),
        early=told.early(),
    )


def _read(part: Callable[[], T], empty: T, unread: list[Trouble]) -> T:
    """A part of the brief; where its file cannot be read, that is said, and the others still stand."""
    try:
        return part()
    except NightlabError as error:
        unread.append(Trouble(clean(f"{Path(error.where or '?').name} cannot be read: {error.what}", 160)))
        return empty


def write_brief(lab: Lab) -> Path:
    """Write state/brief.md, as plain text that nothing in it can escape from."""
    text = brief_of(lab).text().replace(FENCE, "'''")
    write_atomic(lab.brief, f"# Brief\n\n{FENCE}text\n{text}\n{FENCE}\n")
    return lab.brief


def _state(lab: Lab, night: str | None, told: Story) -> tuple[str, str, str]:
    """The night's state word, since when, and what it does."""
    if night is None:
        return "", "", ""
    if told.ended:
        return told.state, told.ended, ""
    from nightlab.night.state import night_state

    now = night_state(lab, night)
    return now.state, str(now.since or told.last), clean(now.doing, 80)


def _running_servers(lab: Lab) -> int:
    if not lab.servers.is_dir():
        return 0
    from nightlab.compute import open_place
    from nightlab.servers.manifest import damaged
    from nightlab.servers.server import Server, list_servers

    for error in damaged(lab):
        raise error
    wanted = [manifest for manifest in list_servers(lab) if manifest.lives]
    return sum(Server(lab, open_place(lab, manifest.place), manifest).alive() for manifest in wanted)


def _kept(lab: Lab) -> tuple[str, ...]:
    """The servers that a night left for the next one."""
    if not lab.servers.is_dir():
        return ()
    from nightlab.servers.server import list_servers

    kept = [m for m in list_servers(lab) if m.state == "ready" and m.kept_until and m.kept_until > now()]
    return tuple(f"kept: {clean(m.model, 30)} until {when(m.kept_until or '')} ({m.id})" for m in kept)


def _cells(lab: Lab, experiment: str) -> str:
    """The answered and judged cells of an experiment against the planned ones."""
    from nightlab.experiments.lock import read_lock

    answered, judged = counts(lab, experiment)
    lock = read_lock(lab.experiments / experiment)
    planned = lock.document["cells"]["count"] if lock else None
    short = "_".join(experiment.split("_")[:2])
    return f"{short} {answered}{f'/{planned}' if planned is not None else ''} samples, {judged} judged"


def _asked(question: Question) -> Item:
    default = (f"went on with: {question.went_on_with}",) if question.went_on_with else ()
    return Item(question.id, question.text, default)


def _failed(trouble: Trouble) -> Item:
    times = f" (×{trouble.times})" if trouble.times > 1 else ""
    place = f"{trouble.where}: " if trouble.where and trouble.where not in trouble.what else ""
    if trouble.mended:
        return Item("", f"mended: {place}{trouble.what}{times}", lines=1)
    return Item("", f"{place}{trouble.what}{times}")
