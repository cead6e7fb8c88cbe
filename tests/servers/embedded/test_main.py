"""The server as a process: its log, its port, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nightlab.errors import UsageError
from nightlab.servers.embedded.main import fingerprint, serve

pytestmark = [pytest.mark.real, pytest.mark.slow]

CODE = """
import json, sys
from nightlab.errors import NightlabError
from nightlab.servers.embedded.main import serve
options = json.loads(sys.argv[1])
try:
    serve(options.pop("model"), **options)
except NightlabError as problem:
    print(problem)
    sys.exit(problem.exit_code)
"""


@contextmanager
def running(**options: Any) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A server and the lines of its log until it was ready or ended."""
    command = [sys.executable, "-c", CODE, json.dumps(options)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "Application startup complete." in line:
                break
        yield process, lines
    finally:
        process.kill()
        process.wait()


def port_of(lines: list[str]) -> int:
    return int(next(line for line in lines if "Starting nightlab server on" in line).rsplit(":", 1)[1])


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
        return json.load(response)


def test_it_serves_tells_its_milestones_and_stops_at_once(tiny_models: Any) -> None:
    tiny = tiny_models["llama"]
    adapters = {"a": str(tiny.adapters[0])}
    with running(model=str(tiny.model), port=0, served_name="night-1", adapters=adapters) as (process, lines):
        text = "".join(lines)
        order = ["Starting to load model", "Loading weights took", "Loaded new LoRA adapter: name 'a'"]
        order += ["Starting nightlab server on", "Application startup complete."]
        assert [text.index(mark) for mark in order] == sorted(text.index(mark) for mark in order)
        port = port_of(lines)
        assert [card["id"] for card in get(port, "/v1/models")["data"]] == ["night-1", "a"]
        with running(model=str(tiny.model), port=port) as (second, said):
            assert second.wait(60) == 1
            assert len(said) == 1
            assert "OSError: [Errno 98] Address already in use" in said[0]
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert time.monotonic() - begun < 5.0
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0


def test_an_adapter_of_another_base_stops_the_start(tiny_models: Any, other_base: Path) -> None:
    with running(model=str(tiny_models["llama"].model), port=0, adapters={"x": str(other_base)}) as (process, lines):
        assert process.wait(60) == 2
        assert "LoRA adapter 'x' cannot be loaded: The size of tensor a" in "".join(lines)


def test_bad_arguments_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="loopback only"):
        serve(tmp_path, host="0.0.0.0")
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        serve(tmp_path)
    with pytest.raises(UsageError, match="practice"):
        serve("practice:nobody")


def test_the_fingerprint_changes_with_the_model(tiny_models: Any) -> None:
    prints = {fingerprint(tiny.model) for tiny in tiny_models.values()}
    assert len(prints) == 3
    assert all(p.startswith("nightlab-") for p in prints)
