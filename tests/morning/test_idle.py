"""Idle time: waits, pauses, silence and losses are told apart, and stand in the brief."""

from datetime import UTC, datetime
from typing import Any

from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.morning.brief import brief_of
from nightlab.morning.idle import Idle, Times

NIGHT = "20261122-230000"


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(1.8e9 + seconds, UTC).isoformat(timespec="milliseconds")


def folded(*rows: tuple[float, dict[str, Any]]) -> tuple[Idle, ...]:
    times = Times()
    for at, row in rows:
        times.see({"t": stamp(at), **row}, 1.8e9 + at)
    return times.idle()


def wait(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    call = f"c{number}"
    return {"kind": "waiting", "call": call, "handles": [f"sweep:exp:m{number % 2}"]}, {"kind": "woke", "call": call}


def test_waits_are_summed_and_named_by_the_longest() -> None:
    rows: list[tuple[float, dict[str, Any]]] = []
    for number, length in enumerate((100.0, 700.0, 100.0)):
        begin, end = wait(number)
        rows += [(1000.0 * number, begin), (1000.0 * number + length, end)]
    assert set(folded(*rows)) == {
        Idle("waited", 900.0, stamp(0), 3, "most for sweep:exp:m1"),
        Idle("silent", 900.0, stamp(100), 1, "thinking"),
    }


def test_wait_beside_another_tool_is_work_and_long_silence_is_listed() -> None:
    begin, end = wait(1)
    tool = {"kind": "tool_started", "call": "t", "tool": "analyze"}
    over = {"kind": "tool_finished", "call": "t", "tool": "analyze"}
    assert folded((0, tool), (1, begin), (500, end), (501, over)) == ()
    assert folded((0, tool), (700, over)) == (Idle("silent", 700.0, stamp(0), 1, "analyze"),)


def test_pauses_and_losses_are_told() -> None:
    found = folded(
        (0, {"kind": "paused", "by": "ada"}),
        (300, {"kind": "unpaused", "by": "ada"}),
        (310, {"kind": "turn"}),
        (7510, {"kind": "night_resumed"}),
        (7400, {"kind": "turn"}),
    )
    assert [(one.kind, one.seconds) for one in found] == [("gone", 7200.0), ("paused", 300.0)]
    assert found[1].text("23:00") == "paused 5 min, from 23:00: most by ada"


def test_brief_tells_idle_time_and_an_early_end(lab: Lab) -> None:
    import json

    rows: list[dict[str, Any]] = [
        {"t": stamp(0), "kind": "night_started", "limits": {"usd": 1.0, "deadline": 1.8e9 + 20000}},
        {"t": stamp(10), "kind": "waiting", "call": "c1", "handles": ["server:llama"]},
        {"t": stamp(3000), "kind": "woke", "call": "c1"},
        {"t": stamp(3001), "kind": "worker_lost", "why": "killed by signal 9", "again": True},
        {"t": stamp(3002), "kind": "wrap_up", "why": "enough", "open": ["exp_002_finer"]},
        {"t": stamp(3003), "kind": "night_ended", "state": "finished", "why": "enough"},
    ]
    text = "".join(json.dumps({"v": 1, **row}) + "\n" for row in rows)
    write_atomic(lab.night(NIGHT) / "events.jsonl", text)
    told = brief_of(lab)
    assert [(one.kind, one.seconds) for one in told.idle] == [("waited", 2990.0)]
    words = " ".join(told.text(60).split())
    assert "waited 49 min, from" in words
    assert "for server:llama" in words
    assert "ended 4 h 43 early, still open: exp_002_finer" in words
    assert "the night's process was lost: killed by signal 9" in words
    assert len(told.text(60).splitlines()) <= 25
