"""The event log of a night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlab.events import EventLog


def test_events_are_durable_and_told(tmp_path: Path) -> None:
    log, heard = EventLog(tmp_path), list[dict[str, Any]]()
    log.subscribe(heard.append)
    row = log.emit("turn", said="hello")
    assert heard == [row] == list(EventLog(tmp_path).read())
    assert (row["v"], row["kind"]) == (1, "turn")
    assert row["t"].endswith("Z")


def test_an_unknown_kind_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown event kind"):
        EventLog(tmp_path).emit("someting")
    assert not (tmp_path / "events.jsonl").exists()


def test_once_is_once_across_processes(tmp_path: Path) -> None:
    assert EventLog(tmp_path).once("a", "commit", sha="1")
    again = EventLog(tmp_path)
    assert not again.once("a", "commit", sha="2")
    assert again.once("b", "commit", sha="3")
    assert not again.once("b", "commit", sha="4")
    assert [row["sha"] for row in again.read()] == ["1", "3"]


def test_last_and_tail(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert log.last("turn") is None
    log.emit("turn", n=1)
    rows, offset = log.tail(0)
    log.emit("turn", n=2)
    log.close()
    assert [r["n"] for r in rows] == [1]
    assert [r["n"] for r in log.tail(offset)[0]] == [2]
    last = log.last("turn")
    assert last is not None
    assert last["n"] == 2


def test_a_torn_event_is_dropped_and_cut(tmp_path: Path) -> None:
    EventLog(tmp_path).emit("turn", n=1)
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"v":1,"ki')
    log = EventLog(tmp_path)
    assert [r["n"] for r in log.read()] == [1]
    log.emit("turn", n=2)
    assert [r["n"] for r in log.read()] == [1, 2]
