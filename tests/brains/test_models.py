"""The place in life of a model, asked of the API before a night."""

from __future__ import annotations

from nightlab.brains.claude import open_client
from nightlab.brains.models import ModelState, check_model
from nightlab.testing import FakeMessagesAPI


async def state(model: str) -> ModelState:
    with FakeMessagesAPI() as api:
        async with open_client(base_url=api.url, api_key="k") as client:
            return await check_model(client, model)


async def test_every_place() -> None:
    active = await state("claude-opus-5-5")
    assert (active.state, active.usable, active.hint, active.max_tokens) == ("active", True, "", 128_000)
    old = await state("claude-sonnet-4-5")
    assert (old.state, old.usable) == ("deprecated", True)
    assert "2026-11-30" in old.hint
    gone = await state("claude-opus-4")
    assert (gone.state, gone.usable) == ("retired", False)
    unknown = await state("claude-opus-5-6")
    assert (unknown.state, unknown.usable) == ("unknown", False)
    assert "did you mean claude-opus-5-5" in unknown.hint
    assert "known: claude-opus-5-5, " in (await state("zzz")).hint
