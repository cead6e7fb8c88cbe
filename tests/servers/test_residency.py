"""Which adapters a server has in memory: the mirror of vLLM's rule, the order of loading, and a folder that is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab.adapters.compile import Compiled
from nightlab.compute.local import Local
from nightlab.errors import ServerError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night import proof
from nightlab.night.serving import endpoint_of
from nightlab.servers.chat import Chat
from nightlab.servers.engines import engine
from nightlab.servers.failures import Present, catalogue, next_move
from nightlab.servers.listing import server_rows
from nightlab.servers.loading import in_order, load_adapters
from nightlab.servers.manifest import load
from nightlab.servers.readiness import Subject
from nightlab.servers.residency import Residency
from nightlab.servers.server import Server, Wanted


def test_the_longest_unused_adapter_is_dropped_first() -> None:
    room = Residency(batch=2, memory=3).used("a", "b", "c")
    assert room.resident == ("a", "b", "c")
    assert room.used("a").resident == ("b", "c", "a"), "asked again, it is the newest"
    assert room.used("a", "d").resident == ("c", "a", "d")
    assert room.used("d", "e", "d").resident == ("c", "e", "d")
    assert room.used("a", "d").dropped(["a", "b", "c", "d"]) == ["b"]
    assert room.only({"b", "x"}).resident == ("b",), "a server that was started again has what it lists"
    assert (room.holds("abc"), room.holds("abcd")) == (True, False)


async def test_conditions_are_loaded_last_and_stay_and_a_dropped_adapter_without_its_folder_is_never_asked_for(
    lab: Lab, place: Local, events: EventLog, conditions: dict[str, Compiled], double: Callable[..., Wanted]
) -> None:
    server = await Server.launch(lab, place, double(conditions), key="k1", night="n1")
    assert server.manifest.residency is None, "what a foreign command keeps is not known"
    server.note(residency=Residency(batch=2, memory=4))
    manifest = await server.ensure_ready(events)
    order = in_order(manifest)
    assert [manifest.adapters[name].condition for name in order] == ["(plain)", "(zero)", "early", "late", "full"]
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:
        assert [card.id for card in await chat.models()][1:] == order
    assert manifest.residency is not None
    assert manifest.residency.resident == tuple(order[1:]) == tuple(manifest.conditions.values())
    assert load(lab, manifest.id).residency == manifest.residency
    assert [row["resident"] for row in server_rows(lab)] == [order[1:]]

    tight = Residency(batch=2, memory=3, resident=tuple(order[-3:]))
    hidden = Path(manifest.adapters[order[-1]].path).rename(lab.root / "hidden")
    assert server.job is not None
    async with Chat(manifest.url) as chat:
        subject = Subject(manifest.model_copy(update={"residency": tight}), server.job, chat)
        with pytest.raises(ServerError, match="not in memory any more"):
            await load_adapters(subject, 60)  # of more conditions than fit a sweep leaves nobody knows which
    hidden.rename(manifest.adapters[order[-1]].path)

    shutil.rmtree(manifest.adapters[order[0]].path)
    with pytest.raises(ServerError, match=r"not in memory any more, and its adapter_config\.json") as caught:
        await server.prove_again(events, "end of a sweep")
    assert caught.value.failure == "adapter_gone"
    assert load(lab, manifest.id).state == "failed"


async def test_an_adapter_that_cannot_be_loaded_again_is_said_with_its_class(
    lab: Lab, place: Local, events: EventLog, conditions: dict[str, Compiled], double: Callable[..., Wanted]
) -> None:
    server = await Server.launch(lab, place, double(conditions), key="k1", night="n1")
    manifest = await server.ensure_ready(events)
    name = manifest.conditions["early"]
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:
        await chat.unload_adapter(name)
    shutil.rmtree(manifest.adapters[name].path)
    assert await proof.reload(lab, events, endpoint_of(manifest), name) is None
    [told] = [row for row in events.read() if row["kind"] == "degradation"]
    assert (told["what"], told["failure"]) == (f"{manifest.id} forgot an adapter", "lora_not_found")


def test_where_nothing_else_is_left_a_batch_mixes_fewer_adapters() -> None:
    spent = {"gpu_memory_utilization": 0.96, "enforce_eager": True, "max_num_seqs": 8, "max_num_batched_tokens": 1024}
    present = Present({**spent, "max_loras": 8}, tunable=engine("vllm").options)
    move = next_move(catalogue()["kv_none"].ladder, present, [])
    assert move is not None
    assert (move.said, move.options) == ("max_loras from 8 to 4", {"max_loras": 4})
