"""Checkpoints that stay small, and from which a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from nightlab.brains import Turn, Usage
from nightlab.errors import DiskFull
from nightlab.night import graph, pulse
from nightlab.night.checkpoints import EVERY, KEPT, open_saver
from nightlab.night.watch import Watch


class State(TypedDict):
    n: int


def app(saver: Any, until: int, cut: int | None = None) -> Any:
    async def step(state: State) -> State:
        if state["n"] == cut:
            raise RuntimeError("cut off")
        return {"n": state["n"] + 1}

    graph = StateGraph(State)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if state["n"] >= until else "step", ["step", END])
    return graph.compile(checkpointer=saver)


def count(saver: Any) -> int:
    return int(saver.conn.execute("SELECT COUNT(*) FROM checkpoints").fetchone()[0])


async def test_old_checkpoints_go_and_a_cut_run_goes_on(tmp_path: Path) -> None:
    path, until = tmp_path / "folder" / "c.sqlite", 3 * EVERY
    config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 10 * until}
    with open_saver(path) as saver:
        with pytest.raises(RuntimeError, match="cut off"):
            await app(saver, until, until // 2).ainvoke({"n": 0}, config, durability="sync")
        assert count(saver) <= EVERY + KEPT
    with open_saver(path) as saver:
        state = await app(saver, until).aget_state(config)
        assert state.values == {"n": until // 2}
        assert state.next == ("step",)
        done = await app(saver, until + 10).ainvoke(None, config, durability="sync")
        assert done == {"n": until + 10}
        assert count(saver) <= EVERY + KEPT


class Quiet:
    """The least of a session: a watch whose brain is asked once and calls nothing, and then ends."""

    def __init__(self, folder: Path) -> None:
        self.watch = Watch(folder, "watch_01")
        self.asked = 0

    def situation(self) -> str:
        return "work"

    async def steer(self) -> None: ...

    def must_end(self) -> str | None:
        return "enough" if self.asked else None

    def is_full(self) -> bool:
        return False

    async def think(self) -> Turn:
        self.asked += 1
        turn = Turn([{"type": "text", "text": "Yes."}], "end_turn", Usage(), 0.0, "nobody")
        self.watch.append_turn(turn)
        return turn

    async def call(self, block: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(block)

    def ended(self) -> str | None:
        return None

    def nudge(self) -> str:
        return "go on"


async def test_a_checkpoint_that_leads_nowhere_in_this_version_is_left_for_the_files(tmp_path: Path) -> None:
    def old(saver: Any) -> Any:
        async def gone(state: graph.Where) -> graph.Where:
            raise RuntimeError("cut off")

        made = StateGraph(graph.Where)
        made.add_node("wake", lambda state: {"watch": "watch_01", "messages": 1, "silent": 0})
        made.add_node("gone", gone)
        made.add_edge(START, "wake")
        made.add_edge("wake", "gone")
        made.add_edge("gone", END)
        return made.compile(checkpointer=saver)

    session = Quiet(tmp_path)
    config: Any = {"configurable": {"thread_id": "t"}}
    with open_saver(tmp_path / "c.sqlite") as saver, pytest.raises(RuntimeError, match="cut off"):
        await old(saver).ainvoke(graph.Where(watch="watch_01"), config, durability="sync")
    with open_saver(tmp_path / "c.sqlite") as saver:
        ended = await graph.go_on(graph.build(session, saver), "t", session.watch)
    assert (ended["outcome"], ended["reason"]) == ("end", "enough")
    assert [message["role"] for message in session.watch.messages] == ["user", "assistant", "user"]


async def test_a_disk_that_refuses_a_flush_is_not_passed_over() -> None:
    class Full:
        def sync(self) -> None:
            raise DiskFull("cannot write: the disk is full")

    with pytest.raises(DiskFull):
        await pulse.keep(Full())
