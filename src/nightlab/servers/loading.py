"""Adapters into a running server: what is missing is loaded in the order that keeps the conditions in its memory."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from nightlab.adapters.card import CONFIG, WEIGHTS
from nightlab.servers.chat import LOAD, ChatError, ModelCard
from nightlab.servers.failures import diagnose_answer, explain
from nightlab.servers.manifest import Manifest
from nightlab.servers.readiness import Subject, check_alive, completes
from nightlab.servers.residency import Residency


def in_order(manifest: Manifest) -> list[str]:
    """The served adapters: first what only the canary asks for, then the conditions, so that these are dropped last."""
    asked = list(dict.fromkeys(manifest.conditions.values()))
    others = [name for name in manifest.adapters if name not in asked]
    return [*others, *(name for name in asked if name in manifest.adapters)]


async def load_adapters(subject: Subject, timeout: float) -> Residency | None:
    """Load every adapter that is not there yet under its content's name, and see all of them listed.

    What is in the server's memory then, where that is bounded. Raises ServerError.
    """
    wanted, room = subject.manifest.adapters, subject.manifest.residency
    there = await _listed(subject)
    missing = [name for name in in_order(subject.manifest) if name not in there]
    if room is not None:  # where the conditions do not all fit, a sweep has changed what is there
        fit = len(set(subject.manifest.conditions.values())) <= room.memory
        room = room.only(there if fit else ())
    if room is None or room.holds(wanted):
        await asyncio.gather(*(_load(subject, name, Path(wanted[name].path), timeout) for name in missing))
    else:
        _refuse_lost(subject, [name for name in room.dropped(wanted) if name in there])
        for name in missing:
            await _load(subject, name, Path(wanted[name].path), timeout)
    cards = await _listed(subject)
    for name, adapter in wanted.items():
        card = cards.get(name)
        if card is None or (card.root is not None and Path(card.root).resolve() != Path(adapter.path).resolve()):
            found = "not listed" if card is None else f"served from {card.root}"
            raise subject.failed(explain("model_404"), f"adapter {name} ({adapter.condition}) is {found}")
    return room.used(*(wanted if room.holds(wanted) else missing)) if room is not None else None


async def settle(subject: Subject, timeout: float) -> Residency | None:
    """Ask every condition for one token, one after the other: then they are in memory, and it is known which.

    Only where not every adapter fits: a canary asks all of them at once, in an order that nobody knows. Raises
    ServerError.
    """
    manifest, room = subject.manifest, subject.manifest.residency
    if room is None or room.holds(manifest.adapters):
        return room
    room = room.only(())
    for name in in_order(manifest):
        if name in manifest.conditions.values():
            await completes(subject, name, time.monotonic() + timeout)
            room = room.used(name)
    return room


def _refuse_lost(subject: Subject, names: list[str]) -> None:
    """An adapter that was dropped from memory and whose folder is gone would end the engine when it is asked for."""
    for name in names:
        adapter = subject.manifest.adapters[name]
        lost = [file for file in (CONFIG, WEIGHTS) if not (Path(adapter.path) / file).is_file()]
        if lost:
            what = f"adapter {name} ({adapter.condition}) is not in memory any more, and its {lost[0]} is gone"
            raise subject.failed(explain("adapter_gone"), what)


async def _listed(subject: Subject) -> dict[str, ModelCard]:
    try:
        return {card.id: card for card in await subject.chat.models()}
    except ChatError as error:
        await check_alive(subject)
        raise subject.failed(explain("no_answer"), error.what) from error


async def _load(subject: Subject, name: str, path: Path, timeout: float) -> None:
    try:
        await subject.chat.load_adapter(name, path, timeout=timeout)
    except ChatError as error:
        diagnosis = diagnose_answer(error.body, path=LOAD, known=subject.known)
        if diagnosis.cls == "lora_already_loaded":
            return  # asked twice: its path is compared afterwards
        await check_alive(subject)
        what = f"adapter {name} cannot be loaded: {error.what}"
        raise subject.failed(diagnosis, what) from error
