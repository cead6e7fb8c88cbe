"""Troubles staged around a server process: it is killed at work, answers badly behind another stage, or dies once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from nightlab.compute.local import Local
from nightlab.servers.chat import Chat, ChatError, ChatRequest, Message
from nightlab.testing.staged import holds, options_of

STAGED = (sys.executable, "-P", "-m", "nightlab.testing.staged")
SERVER = (sys.executable, "-P", "-m", "nightlab.testing.faulty_server", "--served-name", "m", "--port")


def test_the_flags_of_a_command_are_read_and_compared() -> None:
    options = options_of(["vllm", "serve", "--max-num-seqs", "64", "--enforce-eager", "--dtype=half", "--port", "1"])
    assert options == {"max_num_seqs": "64", "enforce_eager": "true", "dtype": "half", "port": "1"}
    assert holds("max_num_seqs<=64", options)
    assert not holds("max_num_seqs>=65", options)
    assert holds("enforce_eager=True", options)
    assert holds("dtype!=float32", options)
    assert not holds("max_model_len<=9", options), "what is not given holds nothing"


@pytest.mark.slow
async def test_a_server_is_killed_at_work_and_a_proof_of_readiness_is_no_work(tmp_path: Path) -> None:
    free_port = Local(tmp_path).free_port()
    words = tmp_path / "last.log"
    words.write_text("Worker proc VllmWorker-0 died unexpectedly\n", "utf-8")
    faults = '[{"kind": "error_body", "times": 1}]'
    inner = (*STAGED, "--faults", faults, "--", *SERVER, str(free_port))
    argv = (*STAGED, "--kill-after", "2", "--last-words", str(words), "--", *inner)
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    while b"startup complete" not in await process.stdout.readline():
        pass
    outcomes = []
    async with Chat(f"http://127.0.0.1:{free_port}") as chat:
        for most in (1, 8, 8, 8, 8):
            request = ChatRequest("m", (Message("user", "Hi"),), max_tokens=most)
            try:
                await chat.complete(request, timeout=20)
                outcomes.append("answered")
            except ChatError as error:
                outcomes.append(error.failure_class)
    said, _ = await process.communicate()
    assert outcomes[0] == "answered", "a proof of readiness meets no trouble"
    assert outcomes.count("answered") == 2, outcomes
    assert outcomes[-1] == "connection", outcomes
    assert b"died unexpectedly" in said
    assert process.returncode != 0
