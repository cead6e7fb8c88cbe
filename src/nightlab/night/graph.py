"""The graph of one watch: wake, then think and act in turns, until it hands over or ends; a wait is a call like others.

LangGraph keeps where we are (ids and counters only; every step is durable before the next begins); the transcript, the
journal and the event log keep what happened, and win on a disagreement: each node first looks at the files and does
only what is missing.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Protocol, TypedDict, cast

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # read when langgraph is imported: a checkpoint row must not name code
for _tracing in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
    os.environ.pop(_tracing, None)

from langchain_core.runnables import RunnableConfig  # noqa: E402
from langgraph.checkpoint.base import BaseCheckpointSaver  # noqa: E402
from langgraph.func import task  # noqa: E402
from langgraph.graph import END, START, StateGraph  # noqa: E402
from langgraph.graph.state import CompiledStateGraph  # noqa: E402

from nightlab.brains import Turn  # noqa: E402
from nightlab.night.watch import Message, Watch  # noqa: E402

MAX_SILENT_TURNS = 3


class Where(TypedDict, total=False):
    """Where a watch stands; everything else is in files."""

    watch: str
    messages: int
    silent: int
    outcome: str
    reason: str


class Session(Protocol):
    """What the graph needs of the night that runs it."""

    watch: Watch

    def situation(self) -> str:
        """The text that opens a watch."""
        ...

    async def steer(self) -> None:
        """Wait while the night is paused; then add what people said to the conversation."""
        ...

    def must_end(self) -> str | None:
        """Why no further turn may be taken, or None."""
        ...

    def is_full(self) -> bool:
        """Whether the watch has grown to the size at which it hands over."""
        ...

    async def think(self) -> Turn | None:
        """One turn of the brain, within the budget; when it returns, the watch has it."""
        ...

    async def call(self, block: dict[str, Any]) -> dict[str, Any]:
        """The result of one tool call; a call that was made before returns its result again."""
        ...

    def ended(self) -> str | None:
        """The reason that the agent gave for ending the night, or None."""
        ...

    def nudge(self) -> str:
        """What an agent that called no tool is told."""
        ...


def user(text: str) -> Message:
    """A user message of plain text."""
    return {"role": "user", "content": [{"type": "text", "text": text}]}


Graph = CompiledStateGraph[Where, None, Where, Where]


def build(session: Session, checkpointer: BaseCheckpointSaver[str]) -> Graph:
    """The graph of one watch of this session."""
    watch = session.watch

    @task
    async def call_tool(block: dict[str, Any]) -> dict[str, Any]:
        return await session.call(block)

    async def wake(state: Where) -> Where:
        if not watch.messages:
            watch.append(user(session.situation()))
        return {"watch": watch.name, "messages": len(watch.messages), "silent": 0}

    async def think(state: Where) -> Where:
        await session.steer()
        if reason := session.must_end():
            return {"outcome": "end", "reason": reason}
        if watch.awaits_brain() and session.is_full():
            return {"outcome": "hand_over", "reason": "the watch has grown to its size"}
        if watch.awaits_brain():
            turn = await session.think()
            if turn is None:
                return {"outcome": "end", "reason": session.must_end() or "the brain could not be asked"}
            if turn.stop_reason == "model_context_window_exceeded":
                return {"outcome": "hand_over", "reason": "the conversation no longer fits the model"}
            if turn.stop_reason == "refusal":
                return {"outcome": "end", "reason": f"the brain stopped: {turn.stop_reason}"}
        if watch.unanswered():
            return {"messages": len(watch.messages), "silent": 0}
        return _silent(session, state)

    async def act(state: Where) -> Where:
        for waits in (False, True):  # what is waited for was begun by the other calls of the turn
            blocks = [block for block in watch.unanswered() if (block["name"] == "wait") is waits]
            await asyncio.gather(*(call_tool(block) for block in blocks))
        results = [_result(block, await session.call(block)) for block in watch.unanswered()]
        if results:
            watch.append({"role": "user", "content": results}, sync=False)
        if reason := session.ended():
            return {"messages": len(watch.messages), "outcome": "end", "reason": reason}
        return {"messages": len(watch.messages)}

    graph = StateGraph(Where)
    graph.add_node("wake", wake)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_edge(START, "wake")
    graph.add_edge("wake", "think")
    graph.add_conditional_edges("think", _after_thinking(watch), ["act", "think", END])
    graph.add_conditional_edges("act", lambda state: END if state.get("outcome") else "think", ["think", END])
    return graph.compile(checkpointer=checkpointer)


async def go_on(app: Graph, thread: str, watch: Watch) -> Where:
    """Run a watch's graph from where its checkpoint stands; what it ended with, also where it had ended before.

    Only the outcome says that it ended: nothing is `next` either where a step was written and its checkpoint was not.
    """
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    state = await app.aget_state(config)
    if state.values.get("outcome"):
        return cast(Where, state.values)
    anew = Where(watch=watch.name)
    ended = await app.ainvoke(None if state.values else anew, config, durability="sync")
    if "outcome" not in ended:  # a checkpoint of a version with other nodes leads nowhere: the files say where we are
        ended = await app.ainvoke(anew, config, durability="sync")
    return cast(Where, ended)


def _after_thinking(watch: Watch) -> Any:
    def where(state: Where) -> str:
        if state.get("outcome"):
            return END
        return "act" if watch.unanswered() else "think"

    return where


def _silent(session: Session, state: Where) -> Where:
    """An answer without a tool call: say what is open, and give up when it comes again and again."""
    silent = state.get("silent", 0) + 1
    if silent >= MAX_SILENT_TURNS:
        return {"outcome": "end", "reason": f"the brain called no tool {silent} times in a row"}
    session.watch.append(user(session.nudge()))
    return {"messages": len(session.watch.messages), "silent": silent}


def _result(block: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "tool_use_id": block["id"],
        "content": str(result["content"]),
        "is_error": not result["ok"],
    }
