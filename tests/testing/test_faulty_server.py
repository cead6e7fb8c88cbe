"""The public double keeps the protocol it imitates: vLLM's status codes and bodies, one answer for one request."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from nightlab.testing import Fault, FaultyServer


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def adapter(folder: Path, *weights: float) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "amplification.json").write_text(json.dumps({"attention": weights, "mlp": weights}))
    return folder


async def ask(session: aiohttp.ClientSession, server: FaultyServer, **fields: object) -> tuple[int, str]:
    body = {"model": server.served_name, "messages": [{"role": "user", "content": "hi"}], "temperature": 0} | fields
    async with session.post(f"{server.url}/v1/chat/completions", json=body) as response:
        data = await response.json()
        return response.status, "|".join(c["message"]["content"] for c in data.get("choices", []))


async def test_adapters_are_loaded_act_and_go(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with FaultyServer("m") as server:
        load, unload = f"{server.url}/v1/load_lora_adapter", f"{server.url}/v1/unload_lora_adapter"
        one = {"lora_name": "one", "lora_path": str(adapter(tmp_path / "one", 1, 0))}
        zero = {"lora_name": "zero", "lora_path": str(adapter(tmp_path / "zero", 0, 0))}
        for body, status in ((one, 200), (one, 400), (zero, 200), ({"lora_name": "x", "lora_path": "/none"}, 404)):
            async with session.post(load, json=body) as response:
                assert response.status == status
        async with session.post(load, json={"lora_name": "m", "lora_path": "/none"}) as response:
            assert response.status == 400
        plain, acted, nothing = [(await ask(session, server, model=name))[1] for name in ("m", "one", "zero")]
        assert plain == nothing != acted
        for status in (200, 404):
            async with session.post(unload, json={"lora_name": "one"}) as response:
                assert response.status == status
        assert (await ask(session, server, model="one"))[0] == 404


async def test_answers_depend_on_the_request_alone(session: aiohttp.ClientSession) -> None:
    async with FaultyServer("m") as first, FaultyServer("m") as second:
        same = [await ask(session, server, temperature=0.7, seed=3) for server in (first, second)]
        assert same[0] == same[1]
        assert await ask(session, first, temperature=0.7, seed=4) != same[0]
        two = (await ask(session, first, n=2, temperature=0.7, seed=3))[1].split("|")
        assert len(two) == 2
        assert two[0] != two[1]


async def test_health_version_and_unknown_routes(session: aiohttp.ClientSession) -> None:
    async with FaultyServer("m") as server:
        for path, status in (("/health", 200), ("/version", 200), ("/nope", 404)):
            async with session.get(server.url + path) as response:
                assert response.status == status


async def test_faults_come_where_they_are_aimed(session: aiohttp.ClientSession) -> None:
    async with FaultyServer("m", adapters=["a"], reply=lambda body: f"to {body['model']}") as server:
        server.fail(Fault("status", status=503, times=2, skip=1, contains="hi"), Fault("status", status=429, model="a"))
        assert [(await ask(session, server))[0] for _ in range(4)] == [200, 503, 503, 200]
        assert (await ask(session, server, model="a")) == (429, "")
        assert (await ask(session, server, model="a")) == (200, "to a")
        server.fail(Fault("status", times=None))
        assert {(await ask(session, server))[0] for _ in range(3)} == {500}
        server.heal()
        assert (await ask(session, server))[0] == 200
        assert len(server.answered()) == 10


def test_as_a_process_it_refuses_a_taken_port_and_ends_on_term() -> None:
    argv = [sys.executable, "-m", "nightlab.testing.faulty_server", "--served-name", "m", "--port"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        taken = subprocess.run([*argv, port], capture_output=True, text=True, timeout=30)
    assert taken.returncode == 1
    assert "OSError: [Errno 98]" in taken.stderr
    with subprocess.Popen([*argv, "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Application startup complete" in process.stdout.readline()
        process.terminate()
        assert process.wait(60) == 0
