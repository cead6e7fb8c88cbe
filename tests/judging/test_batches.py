"""Message batches: half the price, the id before anything else, and after kill -9 nothing is paid twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nightlab.budget import Budget, Limits
from nightlab.judging.batches import BatchPending
from nightlab.judging.log import LOG, read_log
from nightlab.judging.rows import counts, read_judgments
from nightlab.testing import Fail, FakeMessagesAPI

from .conftest import Answered
from .reading import good, judged, two_dozen

JUDGING = """
import asyncio, sys
from pathlib import Path
from nightlab.experiments.plan import Plan
from tests.judging.conftest import Answered
from tests.judging.reading import judged

class At:
    url = sys.argv[2]

result = asyncio.run(judged(Answered(Plan.load(Path(sys.argv[1]))), At, batched=True))
print(result.judged, result.missing)
"""


@pytest.fixture
def study(tmp_path: Path) -> Answered:
    """Two dozen answers with gold items."""
    return two_dozen(tmp_path / "exp_001_joy")


def sent(api: FakeMessagesAPI) -> list[list[dict[str, Any]]]:
    """The requests of each batch that was made."""
    return [r.body["requests"] for r in api.requests if r.method == "POST" and r.path.endswith("/batches")]


def judged_keys(study: Answered) -> Counter[str]:
    """How many judgments that count each sample has."""
    return Counter(row["key"] for row in read_judgments(study.folder) if counts(row))


async def test_a_batch_costs_half_and_its_name_is_kept_first(study: Answered, tmp_path: Path) -> None:
    budget = Budget(tmp_path / "ledger.jsonl", Limits(usd=5.0))
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, batched=True, budget=budget)
        [requests] = sent(api)
        assert api.asked() == []
    assert (result.judged, result.missing, len(requests)) == (24, 0, 31)
    ops = [row["op"] for row in read_log(study.folder, "planned", "intended", "sent", "reply", "collected", "closed")]
    assert ops == ["planned", "intended", "sent", *["reply"] * 31, "collected", "closed"]
    whole = two_dozen(tmp_path / "exp_002_joy")
    with FakeMessagesAPI(good(whole)) as api:
        calls = await judged(whole, api)
    assert budget.spent().usd == pytest.approx(result.usd)
    assert result.usd < 0.75 * calls.usd
    assert not any(word in json.dumps(requests) for word in ("llama", "layers_0_20", "base"))


async def test_what_expired_or_errored_is_sent_again_and_only_that(study: Answered) -> None:
    broken = {"left": 3}

    def script(body: dict[str, Any]) -> Any:
        if broken["left"]:
            broken["left"] -= 1
            return Fail(529, message="Overloaded")
        return good(study)(body)

    with FakeMessagesAPI(script) as api:
        api.batches.expired = 2
        result = await judged(study, api, batched=True)
        assert [len(requests) for requests in sent(api)] == [31, 5]
    assert (result.judged, result.missing) == (24, 0)


async def test_what_never_comes_stays_missing(study: Answered) -> None:
    path = study.folder / "samples.jsonl"
    path.write_text(path.read_text().replace("Nothing to report.", "FAIL_THIS"))
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, batched=True)
    assert (result.judged, result.missing, result.na) == (16, 8, 0)


async def test_the_deadline_leaves_a_batch_running_and_the_next_judging_collects_it(study: Answered) -> None:
    with FakeMessagesAPI(good(study)) as api:
        api.batches.polls = 50
        end = time.monotonic() + 1.5
        with pytest.raises(BatchPending, match="has not ended"):
            await judged(study, api, batched=True, seconds_left=lambda: end - time.monotonic())
        assert judged_keys(study) == {}
        api.batches.polls = 1
        result = await judged(study, api, batched=True)
        assert [len(requests) for requests in sent(api)] == [31]
    assert (result.judged, result.missing) == (24, 0)


async def test_a_batch_whose_name_was_lost_is_found_by_its_mark_and_not_sent_again(study: Answered) -> None:
    """The crash between the API's answer and our line: what was announced and not named is looked for."""
    other = two_dozen(study.folder.parent / "exp_002_joy")
    with FakeMessagesAPI(good(study)) as api:
        api.batches.polls = 1
        await judged(other, api, batched=True)
        await judged(study, api, batched=True)
        log = study.folder / LOG
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(line for line in lines if json.loads(line)["op"] in ("planned", "intended")))
        (study.folder / "judgments.jsonl").unlink()
        result = await judged(study, api, batched=True)
        assert len(sent(api)) == 2
    assert (result.judged, result.missing) == (24, 0)


async def test_a_batch_that_never_arrived_is_sent(study: Answered) -> None:
    with FakeMessagesAPI(good(study)) as api:
        await judged(study, api, batched=True)
        log = study.folder / LOG
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(line for line in lines if json.loads(line)["op"] in ("planned", "intended")))
        (study.folder / "judgments.jsonl").unlink()
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, batched=True)
        assert [len(requests) for requests in sent(api)] == [31]
    assert (result.judged, result.missing) == (24, 0)
    assert [row["op"] for row in read_log(study.folder, "lost", "sent")] == ["lost", "sent"]


@pytest.mark.real
@pytest.mark.slow
def test_after_kill_9_no_batch_is_paid_twice(study: Answered, tmp_path: Path) -> None:
    """A judging is killed three times, at any moment, while the API runs on in a process of its own."""
    rubric = str(study.plan.rubric)
    words = [sys.executable, "-m", "nightlab.testing.messages_api", "--judge", rubric, "--polls", "12"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as api:
        assert api.stdout is not None
        url = api.stdout.readline().strip()
        try:
            for wanted in ("planned", "sent", "sent"):
                kill_when(study, url, wanted)
            done = subprocess.run(
                [sys.executable, "-c", JUDGING, str(study.folder), url], capture_output=True, text=True
            )
            assert done.stdout.split() == ["24", "0"], done.stderr
            with urllib.request.urlopen(f"{url}/v1/messages/batches") as answer:
                batches = json.load(answer)["data"]
        finally:
            api.send_signal(signal.SIGTERM)
    assert [sum(batch["request_counts"].values()) for batch in batches] == [31]
    assert set(judged_keys(study).values()) == {1}
    assert len(judged_keys(study)) == 24


def kill_when(study: Answered, url: str, op: str) -> None:
    """Start a judging and kill it as soon as its log has a line of this kind, and a moment later."""
    words = [sys.executable, "-c", JUDGING, str(study.folder), url]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None and not read_log(study.folder, op):
            time.sleep(0.005)
        time.sleep(0.05)
        process.kill()


async def test_calls_or_batches_are_chosen_by_the_time_that_is_left(study: Answered) -> None:
    for left, batched in ((None, False), (3600.0, False), (5 * 3600.0, True)):
        with FakeMessagesAPI(good(study)) as api:
            await judged(study, api, seconds_left=lambda left=left: left, choose=True)  # type: ignore[misc]
            assert bool(sent(api)) is batched
            assert bool(api.asked()) is not batched
        for name in ("judgments.jsonl", LOG):
            (study.folder / name).unlink()
