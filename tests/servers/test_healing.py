"""Servers whose starts fail with real logs, and that code heals by itself: step by step, bounded, and learned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightlab.compute.local import Local
from nightlab.errors import ConfigError, ServerError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.learned import device_of, lessons
from nightlab.servers.listing import job_rows, server_rows
from nightlab.servers.manifest import load
from nightlab.servers.server import Server, Wanted
from nightlab.servers.wanted import argv_of
from tests.servers.test_catalogue import OOM

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data"
KV = (
    "(EngineCore) ERROR ValueError: To serve at least one request with the model's max seq len (8192), (2.0 GiB KV "
    "cache is needed, which is larger than the available KV cache memory (1.2 GiB). Based on the available memory, the "
    "estimated maximum model length is 4912. Try increasing `gpu_memory_utilization`\n"
    "RuntimeError: Engine core initialization failed. See root cause above.\n"
)
Stage = Callable[..., Wanted]


@pytest.fixture
def staged(tmp_path: Path, double: Callable[..., Wanted]) -> Stage:
    """A double that dies at its start with a log, unless its flags are right."""

    def wanted(log: str | Path, *told: str, options: dict[str, Any] | None = None, **changes: Any) -> Wanted:
        path = log if isinstance(log, Path) else tmp_path / "staged.log"
        if not isinstance(log, Path):
            path.write_text(log, "utf-8")
        given = options or {}
        flags = [word for name in given for word in (f"--{name.replace('_', '-')}", f"{{{name}}}")]
        before = (sys.executable, "-P", "-m", "nightlab.testing.staged", "--die", str(path), *told, "--")
        return replace(double({}, *flags), options=given, before=before, **changes)

    return wanted


async def start(lab: Lab, place: Local, wanted: Wanted, key: str = "k1", night: str = "n1") -> Server:
    return await Server.launch(lab, place, wanted, key=key, night=night)


def steps(events: EventLog) -> list[str]:
    return [row["step"] for row in events.read() if row["kind"] == "server_healing"]


async def test_a_full_gpu_is_healed_step_by_step_and_remembered(
    lab: Lab, place: Local, events: EventLog, staged: Stage
) -> None:
    log = OOM.format(frame="capture_model")
    wanted = staged(log, "--unless", "gpu_memory_utilization<=0.8", options={"gpu_memory_utilization": 0.9})
    server = await start(lab, place, wanted)
    server.note(reference={"of a start that never became ready": []})
    manifest = await server.ensure_ready(events)
    assert (manifest.state, manifest.attempt) == ("ready", 2)
    assert list(manifest.reference) == [manifest.served_name], "no canary is compared with another start's"
    assert steps(events) == ["gpu_memory_utilization from 0.9 to 0.85", "gpu_memory_utilization from 0.85 to 0.8"]
    assert manifest.options == {"gpu_memory_utilization": 0.9}, "the plan's own value is kept apart"
    assert manifest.learned == {"gpu_memory_utilization": 0.8}
    [lesson] = lessons(lab)
    assert (lesson.model, lesson.device) == ("nightlab/double", device_of("local"))
    assert lesson.options == {"gpu_memory_utilization": 0.8}
    assert [one["class"] for one in lesson.evidence] == ["cuda_oom", "cuda_oom"]
    assert lesson.evidence[0]["stage"] == "graph_capture"
    assert "Tried to allocate" in lesson.evidence[0]["line"]
    assert lesson.proven["server"] == manifest.id
    assert len(place.jobs()) == 3
    assert [(row["id"], row["starts"], row["alive"]) for row in server_rows(lab)] == [(manifest.id, 3, True)]
    assert job_rows(lab) == [], "its earlier starts are its own"
    await server.stop()
    again = EventLog(lab.night("n2"))
    next_night = await start(lab, place, wanted, night="n2")
    assert (await next_night.ensure_ready(again)).attempt == 0, "tried first next time"
    assert "0.8" in argv_of(next_night.manifest)
    assert steps(again) == []
    other = await start(lab, place, replace(wanted, model_id="nightlab/another"), key="k3", night="n3")
    assert other.manifest.learned == {}, "what one model needs says nothing about another"


async def test_a_ladder_ends_and_the_failure_stays_what_it_was(
    lab: Lab, place: Local, events: EventLog, staged: Stage
) -> None:
    options = {"gpu_memory_utilization": 0.66, "enforce_eager": True}
    server = await start(lab, place, staged(OOM.format(frame="capture_model"), options=options))
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "cuda_oom"
    assert steps(events) == [
        "gpu_memory_utilization from 0.66 to 0.61",
        "gpu_memory_utilization from 0.61 to 0.6",
    ]
    assert load(lab, server.manifest.id).state == "failed"
    assert not lab.learned.exists(), "what did not help is no lesson"
    next_one = await start(lab, place, staged(OOM.format(frame="capture_model"), options=options), key="k2")
    assert next_one.manifest.learned == {"gpu_memory_utilization": 0.6}, "the same night does not begin again above"


async def test_the_length_that_the_log_names_is_taken_and_said_as_a_degradation(
    lab: Lab, place: Local, events: EventLog, staged: Stage
) -> None:
    options = {"max_model_len": 8192}
    server = await start(lab, place, staged(KV, "--unless", "max_model_len<=4912", options=options))
    assert (await server.ensure_ready(events)).learned == {"max_model_len": 4912}
    [told] = [row for row in events.read() if row["kind"] == "degradation"]
    assert "max_model_len set to 4912" in told["what"]
    assert "kv_too_small_for_len" in told["why"]
    needed = staged(KV, options=options, least={"max_model_len": 5000}, model_id="nightlab/longer")
    refused = await start(lab, place, needed, key="k2")
    with pytest.raises(ServerError) as caught:
        await refused.ensure_ready(EventLog(lab.night("n4")))
    assert caught.value.failure == "kv_too_small_for_len", "less than the plan's prompts need is no remedy"


FULL = "OSError: [Errno 28] No space left on device: '/cache/torch_compile/x'\n"
DEAD = "ERROR vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace.\n"


@pytest.mark.parametrize(
    ("log", "cls", "told"),
    [
        (DATA / "kill_worker.log", "worker_killed", "0"),
        (DATA / "tp2.log", "cpu_tp_numa", "1"),
        (FULL, "disk_full", "1"),
        (DEAD, "engine_dead", "0"),
        (OOM.format(frame="_dummy_run"), "cuda_oom", "1"),
        (OOM.format(frame="execute_model"), "cuda_oom", "1"),
    ],
    ids=["worker killed", "tensor parallel", "no disk", "engine dead", "GPU full: activations", "GPU full: requests"],
)
async def test_a_start_that_fails_once_is_made_again_whatever_the_exit_code(
    lab: Lab, place: Local, events: EventLog, staged: Stage, tmp_path: Path, log: str | Path, cls: str, told: str
) -> None:
    count = ("--code", told, "--times", "1", "--count", str(tmp_path / "count"))
    options = {"tensor_parallel": 2, "max_num_seqs": 256, "max_num_batched_tokens": 8192}
    server = await start(lab, place, staged(log, *count, options=options))
    assert (await server.ensure_ready(events)).state == "ready"
    [row] = [row for row in events.read() if row["kind"] == "server_healing"]
    assert row["failure"] == cls


async def test_a_licence_is_a_persons_and_a_missing_model_is_fetched_once(
    lab: Lab, place: Local, events: EventLog, staged: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url ...\n"
    server = await start(lab, place, staged(gated))
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert (caught.value.failure, steps(events)) == ("hf_gated", [])
    cut = "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata\n"
    own = await start(lab, place, staged(cut, model_id="/data/models/mine"), key="k3")
    with pytest.raises(ServerError) as caught:
        await own.ensure_ready(events)
    assert (caught.value.failure, steps(events)) == ("corrupt_weights", []), "a folder of ours is fetched from nowhere"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    away = await start(lab, place, staged(DATA / "hf_offline.log", model_id="nobody/nothing"), key="k2")
    with pytest.raises(ServerError) as caught:
        await away.ensure_ready(events)
    assert caught.value.failure == "hf_offline_not_cached"
    assert steps(events) == ["nobody/nothing fetched from the hub"]
    [error] = [row for row in events.read() if row["kind"] == "error"]
    assert "nobody/nothing cannot be fetched" in error["what"]
    assert away.manifest.attempt == 0, "nothing is started again without the model"


def test_a_file_of_lessons_that_cannot_be_used_is_one_sentence(lab: Lab) -> None:
    lab.state.mkdir()
    for text, said in (("a: 1", "are a list"), ("- {device: cpu}", "lacks its device, model or engine")):
        lab.learned.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=said):
            lessons(lab)
    lab.learned.write_text("", "utf-8")
    assert lessons(lab) == []
