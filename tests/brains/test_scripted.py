"""The scripted brain: what it says depends only on where the conversation stands."""

from __future__ import annotations

from nightlab.brains import Scripted, Turn, TurnRequest, Usage


def request(turns: int = 0) -> TurnRequest:
    said = [{"role": "assistant", "content": []}, {"role": "user", "content": []}] * turns
    return TurnRequest([], [], [{"role": "user", "content": []}, *said], "watch_01")


async def test_lines_by_place() -> None:
    heard: list[str] = []
    brain = Scripted(["hello", [{"call": "wait", "input": {"handles": []}}], lambda r: f"turn {r.number}"])
    first = await brain.turn(request(), on_text=heard.append)
    assert (first.stop_reason, first.content) == ("end_turn", [{"type": "text", "text": "hello"}])
    assert heard == ["hello"]
    second = await brain.turn(request(1))
    assert second.stop_reason == "tool_use"
    assert [block["id"] for block in second.calls] == ["toolu_watch_01_001_0"]
    assert (await brain.turn(request(1))).content == second.content
    assert (await brain.turn(request(2))).content[0]["text"] == "turn 2"
    assert (await brain.turn(request(9))).content == []
    assert [r.number for r in brain.requests] == [0, 1, 1, 2, 9]


async def test_a_whole_turn_and_its_price() -> None:
    refusal = Turn([], "refusal", Usage(5, 1, 2, 3), 0.5)
    brain = Scripted([refusal], usd_per_turn=0.25)
    assert await brain.turn(request()) is refusal
    assert refusal.usage.total == 11
    assert brain.quote(request()).usd == 0.25
