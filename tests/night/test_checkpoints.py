"""Checkpoints that stay small, and from which a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from nightlab.night.checkpoints import EVERY, KEPT, open_saver


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


async def count(saver: Any) -> int:
    rows = await (await saver.conn.execute("SELECT COUNT(*) FROM checkpoints")).fetchone()
    return int(rows[0])


async def test_old_checkpoints_go_and_a_cut_run_goes_on(tmp_path: Path) -> None:
    path, until = tmp_path / "folder" / "c.sqlite", 3 * EVERY
    config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 10 * until}
    async with open_saver(path) as saver:
        with pytest.raises(RuntimeError, match="cut off"):
            await app(saver, until, until // 2).ainvoke({"n": 0}, config, durability="sync")
        assert await count(saver) <= EVERY + KEPT
    async with open_saver(path) as saver:
        state = await app(saver, until).aget_state(config)
        assert state.values == {"n": until // 2}
        assert state.next == ("step",)
        done = await app(saver, until + 10).ainvoke(None, config, durability="sync")
        assert done == {"n": until + 10}
        assert await count(saver) <= EVERY + KEPT
