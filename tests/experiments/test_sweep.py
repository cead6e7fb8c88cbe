"""The sweep against real servers: every cell once, failures apart, shares given up alone, resumed where it was cut."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nightlab.budget import Budget, Limits
from nightlab.errors import FrozenError, LockHeld, SweepStopped, UsageError
from nightlab.events import EventLog
from nightlab.experiments.asking import chat_request
from nightlab.experiments.cells import Cell, cells
from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples, sole_writer
from nightlab.experiments.share import LONGEST_WAIT_ASKED_FOR, PAUSE, pause
from nightlab.experiments.sweep import Endpoint, Progress, Servers, Stopped, run_sweep
from nightlab.testing import Fault, FaultyServer

from .conftest import RANGES, Study

CONDITIONS = ["base", *RANGES]


def endpoint(server: FaultyServer) -> Endpoint:
    """A server's base model and adapters as the conditions of the study."""
    served = {name: f"{server.served_name}-{name}" for name in RANGES}
    return Endpoint(server.url, f"srv-{server.served_name}", {"base": server.served_name, **served})


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, FaultyServer]]:
    """Two servers, one for each model of the study."""
    made = {name: FaultyServer(name, adapters=[f"{name}-{c}" for c in RANGES]) for name in ("llama", "qwen")}
    async with made["llama"], made["qwen"]:
        yield made


@pytest.fixture
def plan(study: Study) -> Plan:
    found = study.plan()
    freeze(found)
    return found


def ends(servers: dict[str, FaultyServer]) -> dict[str, Endpoint]:
    return {name: endpoint(server) for name, server in servers.items()}


def rows(plan: Plan) -> list[dict[str, Any]]:
    return list(Samples(plan.folder).rows())


def failures(plan: Plan) -> list[dict[str, Any]]:
    return list(Samples(plan.folder).failures())


async def test_every_cell_is_answered_once_by_the_server_of_its_model(
    plan: Plan, servers: dict[str, FaultyServer], tmp_path: Path
) -> None:
    planned, events = cells(plan), EventLog(tmp_path)
    seen: list[Progress] = []
    result = await run_sweep(plan, planned, ends(servers), events=events, on_progress=seen.append)
    assert (result.planned, result.asked, result.answered, result.failed, result.missing) == (36, 36, 36, 0, 0)
    assert result.stopped == []
    assert result.error() is None
    by_key = {row["key"]: row for row in rows(plan)}
    assert by_key.keys() == {cell.key for cell in planned}
    for cell in planned:
        row = by_key[cell.key]
        assert {
            name: row[name] for name in ("model", "model_id", "condition", "prompt", "category", "replicate", "seed")
        } == {
            "model": cell.model,
            "model_id": f"lab/{cell.model}",
            "condition": cell.condition,
            "prompt": cell.prompt,
            "category": cell.category,
            "replicate": 0,
            "seed": cell.seed,
        }
        assert row["server"] == f"srv-{cell.model}"
        assert row["served_model"] == endpoint(servers[cell.model]).conditions[cell.condition]
        assert row["text"]
        assert row["completion_tokens"] > 0
        assert row["attempt"] == 1
        assert ("raw" in row) != ("messages" in row)
    assert [len(server.answered()) for server in servers.values()] == [18, 18]
    assert failures(plan) == []
    assert [event["kind"] for event in events.read()] == ["sweep_started", "sweep_finished"]
    assert seen[-1] == Progress(36, 36, 0)


async def test_what_is_sent_is_what_the_cell_says(plan: Plan, servers: dict[str, FaultyServer], study: Study) -> None:
    planned = cells(plan)
    await run_sweep(plan, planned, ends(servers))
    seeds = {seen.body["seed"]: seen for seen in servers["llama"].answered()}
    mine = {cell.prompt: cell for cell in planned if cell.model == "llama" and cell.condition == "base"}
    raw = seeds[mine["raw"].seed]
    assert (raw.path, raw.body["prompt"], raw.body["max_tokens"]) == ("/v1/completions", "Once upon a time", 200)
    poem = seeds[mine["poem"].seed]
    assert [message["role"] for message in poem.body["messages"]] == ["system", "user"]
    assert "continue_final_message" not in poem.body


def test_a_prefill_is_continued_at_the_top_level(study: Study) -> None:
    study.prompt("prefilled", {"prompt_text": "Hello?", "assistant_prefill": "Well,"})
    study.prompt(
        "forced",
        {"messages": [{"role": "user", "content": "Hel"}], "template_override": "Force continue final message"},
    )
    bodies = {
        cell.prompt: chat_request(cell, "m").body() for cell in cells(study.write(sampling={"stop": ["x"]}).plan())
    }
    assert bodies["prefilled"]["continue_final_message"]
    assert bodies["forced"]["continue_final_message"]
    assert not bodies["forced"]["add_generation_prompt"]
    assert bodies["poem"]["stop"] == ["x"]


async def test_a_resumed_sweep_asks_only_what_is_missing(plan: Plan, servers: dict[str, FaultyServer]) -> None:
    planned = cells(plan)
    await run_sweep(plan, planned, ends(servers))
    path = plan.folder / "samples.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20]) + lines[20][:30])
    before = {name: len(server.answered()) for name, server in servers.items()}
    result = await run_sweep(plan, planned, ends(servers))
    assert (result.asked, result.answered, result.missing) == (16, 16, 0)
    assert sum(len(server.answered()) - before[name] for name, server in servers.items()) == 16
    assert len(rows(plan)) == 36
    assert (await run_sweep(plan, planned, ends(servers))).asked == 0


async def test_the_same_cell_gets_the_same_answer_whatever_was_cut(
    plan: Plan, servers: dict[str, FaultyServer]
) -> None:
    planned = cells(plan)
    await run_sweep(plan, planned, ends(servers))
    first = {row["key"]: row["text"] for row in rows(plan)}
    (plan.folder / "samples.jsonl").unlink()
    await run_sweep(plan, planned[20:], ends(servers), concurrency=1)
    await run_sweep(plan, planned, ends(servers), concurrency=7)
    assert {row["key"]: row["text"] for row in rows(plan)} == first


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault("status", status=500), "server_error"),
        (Fault("status", status=429), "rate_limited"),
        (Fault("error_body"), "contract_broken"),
        (Fault("empty_choices"), "contract_broken"),
        (Fault("missing_usage"), "contract_broken"),
        (Fault("wrong_model"), "contract_broken"),
        (Fault("not_json"), "contract_broken"),
        (Fault("truncated"), "contract_broken"),
        (Fault("drop"), "connection"),
        (Fault("cut"), "connection"),
        (Fault("hang"), "timeout"),
        (Fault("aborted"), "cancelled"),
    ],
)
async def test_a_failure_that_passes_is_a_line_and_then_an_answer(
    plan: Plan, servers: dict[str, FaultyServer], fault: Fault, failure: str
) -> None:
    servers["llama"].fail(fault)
    patience = 1.0 if failure == "timeout" else 60.0
    result = await run_sweep(plan, cells(plan), ends(servers), timeout=patience)
    assert (result.answered, result.failed, result.missing) == (36, 0, 0)
    (line,) = failures(plan)
    assert (line["class"], line["server"], line["attempt"]) == (failure, "srv-llama", 1)
    assert line["error"]
    retried = [row for row in rows(plan) if row["attempt"] == 2]
    assert [row["key"] for row in retried] == [line["key"]]


async def test_an_unknown_model_is_not_asked_again_and_not_answered(
    plan: Plan, servers: dict[str, FaultyServer]
) -> None:
    wrong = ends(servers)
    served = dict(wrong["qwen"].conditions) | {"layers_80_100": "gone"}
    wrong["qwen"] = Endpoint(wrong["qwen"].url, "srv-qwen", served)
    result = await run_sweep(plan, cells(plan), wrong, concurrency=1)
    assert (result.answered, result.failed, result.missing) == (33, 3, 3)
    assert Counter(line["class"] for line in failures(plan)) == {"not_found": 3}
    assert result.by_model["qwen"].missing == 3
    assert result.by_model["qwen"].stopped == ()
    assert (await run_sweep(plan, cells(plan), ends(servers))).missing == 0


async def test_the_same_failure_again_and_again_stops_that_server_alone(
    plan: Plan, servers: dict[str, FaultyServer], tmp_path: Path
) -> None:
    servers["qwen"].fail(Fault("status", times=None, status=400))
    events = EventLog(tmp_path)
    result = await run_sweep(plan, cells(plan), ends(servers), events=events, concurrency=2, max_identical_failures=3)
    assert result.by_model["llama"].missing == 0
    qwen = result.by_model["qwen"]
    assert (qwen.answered, qwen.missing) == (0, 18)
    assert 3 <= qwen.failed <= 4
    assert [(s.failure, s.times, s.server) for s in qwen.stopped] == [("bad_request", 3, "srv-qwen")]
    error = result.error()
    assert isinstance(error, SweepStopped)
    assert error.failure == "bad_request"
    assert "EngineCore" in error.sample
    degraded = [event for event in events.read() if event["kind"] == "degradation"]
    assert len(degraded) == 1
    assert "18 cells of qwen" in degraded[0]["what"]
    assert "3 times in a row" in degraded[0]["why"]


async def test_the_plan_says_how_many_identical_failures_stop(study: Study, servers: dict[str, FaultyServer]) -> None:
    plan = study.write(stop={"max_identical_failures": 2}).plan()
    freeze(plan)
    servers["qwen"].fail(Fault("status", times=None, status=400))
    result = await run_sweep(plan, cells(plan), ends(servers), concurrency=1)
    assert result.by_model["qwen"].failed == 2


async def test_scattered_failures_do_not_stop_a_sweep(plan: Plan, servers: dict[str, FaultyServer]) -> None:
    servers["qwen"].fail(Fault("status", times=None, status=400, contains="Write a poem."))
    result = await run_sweep(plan, cells(plan), ends(servers), concurrency=1, max_identical_failures=2)
    assert result.stopped == []
    assert (result.failed, result.missing) == (6, 6)


async def test_a_server_that_is_gone_is_given_up_when_the_patience_ends(
    plan: Plan, servers: dict[str, FaultyServer]
) -> None:
    await servers["qwen"].stop()
    start = time.monotonic()
    result = await run_sweep(plan, cells(plan), ends(servers), patience=0.3)
    assert 0.3 < time.monotonic() - start < 30
    qwen = result.by_model["qwen"]
    assert [stop.failure for stop in qwen.stopped] == ["connection"]
    assert "no connection for 0.3 s" in qwen.stopped[0].why
    assert (result.by_model["llama"].missing, qwen.missing) == (0, 18)
    assert len(failures(plan)) <= 18  # one probes, the others wait: no line for every moment


async def test_a_server_that_is_known_to_be_gone_is_not_waited_for(
    plan: Plan, servers: dict[str, FaultyServer]
) -> None:
    await servers["qwen"].stop()
    asked: list[str] = []

    async def gone(end: Endpoint) -> str | None:
        asked.append(end.server)
        return "the server's job is over (failed)" if len(asked) > 1 else None

    result = await run_sweep(plan, cells(plan), ends(servers), patience=60, gone=gone)
    [stop] = result.by_model["qwen"].stopped
    assert stop.failure == "connection"
    assert stop.error.startswith("the server's job is over (failed): the connection failed")
    assert set(asked) == {stop.server}, "only who takes no connection is asked about"
    assert result.by_model["llama"].missing == 0


async def test_a_server_that_restarts_loses_no_cell(plan: Plan, servers: dict[str, FaultyServer]) -> None:
    gone = servers["qwen"]
    port = gone.port
    await gone.stop()

    async def back() -> None:
        await asyncio.sleep(0.6)
        gone.port = port
        await gone.start()

    restart = asyncio.create_task(back())
    result = await run_sweep(plan, cells(plan), ends(servers), patience=20)
    await restart
    assert (result.missing, result.failed, result.stopped) == (0, 0, [])
    assert {line["class"] for line in failures(plan)} == {"connection"}


async def test_replicas_of_a_model_share_its_cells_and_the_healthy_ones_finish_what_a_broken_one_gave_up(
    plan: Plan, servers: dict[str, FaultyServer], tmp_path: Path
) -> None:
    names = [f"qwen-{c}" for c in RANGES]
    broken = FaultyServer("qwen", adapters=names, faults=[Fault("status", times=None, status=400)])
    events = EventLog(tmp_path)
    async with broken, FaultyServer("qwen", adapters=names, delay=0.01) as third:
        replicas = [endpoint(servers["qwen"]), endpoint(broken), endpoint(third)]
        both: Servers = {"llama": endpoint(servers["llama"]), "qwen": replicas}
        result = await run_sweep(plan, cells(plan), both, events=events, concurrency=2, max_identical_failures=2)
        assert min(len(server.answered()) for server in (servers["qwen"], third)) >= 2
    assert (result.answered, result.failed, result.missing) == (36, 0, 0)
    assert [stop.failure for stop in result.stopped] == ["bad_request"]
    assert result.error() is None
    assert [e["what"] for e in events.read() if e["kind"] == "degradation"] == [
        "a server of qwen was given up; others answered its cells"
    ]
    assert len(rows(plan)) == 36


async def test_a_share_that_is_healed_goes_on_and_asks_its_failures_again(
    plan: Plan, servers: dict[str, FaultyServer]
) -> None:
    servers["qwen"].fail(Fault("status", times=None, status=400, skip=5))
    met: list[str] = []

    async def heal(stop: Stopped) -> Endpoint | None:
        met.append(stop.why)
        servers["qwen"].heal()
        return endpoint(servers["qwen"])

    result = await run_sweep(plan, cells(plan), ends(servers), concurrency=3, max_identical_failures=3, heal=heal)
    assert (result.answered, result.failed, result.missing, result.stopped) == (36, 0, 0, [])
    assert len(met) == 1
    assert result.by_model["qwen"].failures == {"bad_request": len(failures(plan))}


async def test_a_cancelled_sweep_keeps_its_answers_and_goes_on_later(study: Study) -> None:
    plan = study.plan()
    freeze(plan)
    planned = cells(plan)
    mine = [cell for cell in planned if cell.model == "llama"]
    async with FaultyServer("llama", adapters=[f"llama-{c}" for c in RANGES], delay=0.05) as server:
        task = asyncio.create_task(run_sweep(plan, planned, {"llama": endpoint(server)}, concurrency=2))
        async with asyncio.timeout(10):
            while len(server.answered()) < 8:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        kept = len(rows(plan))
        assert 4 <= kept < len(mine)
        result = await run_sweep(plan, planned, {"llama": endpoint(server)})
    assert (result.asked, result.by_model["llama"].missing) == (len(mine) - kept, 0)
    assert (result.by_model["qwen"].asked, result.by_model["qwen"].missing) == (0, 18)


async def test_no_more_than_the_allowed_requests_are_in_flight(study: Study) -> None:
    plan = study.plan()
    freeze(plan)
    async with FaultyServer("llama", adapters=[f"llama-{c}" for c in RANGES], delay=0.02) as server:
        await run_sweep(plan, cells(plan), {"llama": endpoint(server)}, concurrency=3)
        assert server.most_in_flight == 3


async def test_a_past_deadline_asks_nothing_and_says_so(
    plan: Plan, servers: dict[str, FaultyServer], tmp_path: Path
) -> None:
    budget = Budget(tmp_path / "ledger.jsonl", Limits(deadline=time.time() - 1))
    result = await run_sweep(plan, cells(plan), ends(servers), budget=budget)
    assert (result.asked, result.missing) == (0, 36)
    assert {stop.failure for stop in result.stopped} == {"clock"}
    assert "deadline" in str(result.error())


async def test_a_deadline_ends_requests_that_hang(plan: Plan, servers: dict[str, FaultyServer], tmp_path: Path) -> None:
    servers["qwen"].fail(Fault("hang", times=None))
    budget = Budget(tmp_path / "ledger.jsonl", Limits(deadline=time.time() + 1.0))
    async with asyncio.timeout(5):
        result = await run_sweep(plan, cells(plan), ends(servers), budget=budget)
    assert (result.by_model["llama"].missing, result.by_model["qwen"].missing) == (0, 18)
    assert [stop.failure for stop in result.stopped] == ["clock"]


async def test_only_a_frozen_and_unchanged_plan_is_swept(study: Study, servers: dict[str, FaultyServer]) -> None:
    plan = study.plan()
    with pytest.raises(FrozenError, match="not frozen"):
        await run_sweep(plan, cells(plan), ends(servers))
    freeze(plan)
    changed = study.write(sampling={"max_tokens": 3}).plan()
    with pytest.raises(FrozenError, match="max_tokens"):
        await run_sweep(changed, cells(changed), ends(servers))
    assert not (plan.folder / "samples.jsonl").exists()
    assert all(server.answered() == [] for server in servers.values())


async def test_a_condition_the_server_lacks_is_said_before_anything_is_asked(
    plan: Plan, servers: dict[str, FaultyServer]
) -> None:
    only_base = {"llama": Endpoint(servers["llama"].url, "srv", {"base": "llama"})}
    with pytest.raises(UsageError, match="does not serve the condition 'layers_0_20'"):
        await run_sweep(plan, cells(plan), only_base)
    assert servers["llama"].answered() == []


async def test_two_sweeps_of_one_experiment_do_not_meet(plan: Plan, servers: dict[str, FaultyServer]) -> None:
    with sole_writer(plan.folder), pytest.raises(LockHeld):
        await run_sweep(plan, cells(plan), ends(servers))


async def test_sweeps_side_by_side_share_a_store(plan: Plan, servers: dict[str, FaultyServer]) -> None:
    planned = cells(plan)
    store = Samples(plan.folder)
    shares = [
        run_sweep(plan, [cell for cell in planned if cell.model == name], {name: end}, samples=store)
        for name, end in ends(servers).items()
    ]
    with sole_writer(plan.folder):
        results = await asyncio.gather(*shares)
    store.close()
    assert [(result.planned, result.missing) for result in results] == [(18, 0), (18, 0)]
    assert len(rows(plan)) == 36


async def test_half_a_surrogate_pair_is_no_answer(plan: Plan) -> None:
    planned: list[Cell] = [cell for cell in cells(plan) if cell.model == "llama" and cell.condition == "base"]
    replies = iter([json.loads('"\\ud800"')])
    async with FaultyServer("llama", reply=lambda body: next(replies, "whole")) as server:
        only = {"llama": Endpoint(server.url, "srv", {"base": "llama"})}
        result = await run_sweep(plan, planned[:1], only)
    assert (result.answered, result.missing) == (1, 0)
    assert [line["class"] for line in failures(plan)] == ["contract_broken"]
    assert [(row["text"], row["attempt"]) for row in rows(plan)] == [("whole", 2)]


def test_pauses_grow_are_capped_and_honour_the_server() -> None:
    assert all(0 <= pause(1) <= 2 * PAUSE for _ in range(100))
    assert max(pause(20) for _ in range(100)) <= 8.0
    assert pause(1, 5.0) >= 5.0
    assert pause(1, 10_000.0) == LONGEST_WAIT_ASKED_FOR


CUT_OFF = """
import asyncio, sys
from pathlib import Path
from nightlab.experiments.cells import cells
from nightlab.experiments.plan import Plan
from nightlab.experiments.sweep import Endpoint, run_sweep

plan, url = Plan.load(Path(sys.argv[1])), sys.argv[2]
served = {c.name: "llama" if c.name == "base" else f"llama-{c.name}" for c in plan.conditions}
asyncio.run(run_sweep(plan, cells(plan), {"llama": Endpoint(url, "srv", served)}, concurrency=4))
"""


@pytest.mark.slow
async def test_a_sweep_that_is_killed_asks_nothing_twice_that_it_wrote(study: Study) -> None:
    study.config["factors"]["replicates"] = 5
    plan = study.write().plan()
    freeze(plan)
    path = plan.folder / "samples.jsonl"
    async with FaultyServer("llama", adapters=[f"llama-{c}" for c in RANGES], delay=0.02) as server:
        for enough in (10, 30, 50):
            command = (sys.executable, "-c", CUT_OFF, str(plan.folder), server.url)
            process = await asyncio.create_subprocess_exec(*command)
            async with asyncio.timeout(60):
                while not (path.exists() and path.read_bytes().count(b"\n") >= enough):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.005)
            process.kill()
            await process.wait()
            written, before = Samples(plan.folder).keys(), len(server.answered())
        result = await run_sweep(plan, cells(plan), {"llama": endpoint(server)})
        asked_last = {(seen.body["model"], seen.body["seed"]) for seen in server.answered()[before:]}
        served = endpoint(server).conditions
    assert result.by_model["llama"].missing == 0
    assert len(rows(plan)) == 90
    assert not asked_last & {(served[cell.condition], cell.seed) for cell in cells(plan) if cell.key in written}
