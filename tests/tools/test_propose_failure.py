"""A failure that nobody knew: confirmed, proposed with its log, tried out, accepted, and known from then on."""

from __future__ import annotations

from typing import Any

from nightlab import proposals
from nightlab.servers.manifest import Manifest, save
from tests.tools.conftest import Night, files

TOKEN = "hf_" + "a" * 34
LOG = f"INFO Starting to load model x\nRuntimeError: firmware of device 3 does not answer, token {TOKEN}\n"
TOLD: dict[str, Any] = {
    "name": "firmware_hiccup",
    "server": "qwen-1",
    "pattern": r"firmware of device \d+ does not answer",
    "cause": "the GPU's firmware hangs",
    "remedy": ["start it on another node"],
    "whose": "ours",
    "why": "the same device failed three times, another one did not",
}


def fail(night: Night) -> None:
    """A server that failed in a way that is not known."""
    log = night.lab.cache / "jobs" / "qwen-1" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(LOG, "utf-8")
    names = {"id": "qwen-1", "key": "k", "night": "n", "model": "qwen", "model_id": "q", "model_path": "q"}
    where = {"engine": "vllm", "served_name": "q-1", "place": "local", "job": "qwen-1.0", "port": 1, "flags": []}
    shown = {"conditions": {}, "state": "failed", "started": "2026-11-25T00:00:00Z", "log": night.lab.relative(log)}
    save(night.lab, Manifest.model_validate({**names, **where, **shown}))


async def test_an_unknown_failure_becomes_known_once_a_person_accepts_it(night: Night) -> None:
    fail(night)
    before = await night.call("diagnose", server="qwen-1")
    assert before.data["class"] is None
    for call_id in ("a", "a"):
        done = await night.call("propose_failure", call_id=call_id, **TOLD)
        assert done.data["target"] == "state/failures/firmware_hiccup.yaml", done
    [one] = proposals.open_ones(night.lab)
    assert (one.kind, one.name, one.problem) == ("failure", "firmware_hiccup", None)
    assert night.lab.notes.read_text("utf-8").count("the failure firmware_hiccup is proposed") == 1
    assert (await night.call("diagnose", server="qwen-1")).data["class"] is None, "not before it is accepted"
    changed = proposals.accept(night.lab, one)
    assert not proposals.open_ones(night.lab)
    assert night.lab.failures / "firmware_hiccup.log" in changed
    assert "hf_aaa" not in (night.lab.failures / "firmware_hiccup.log").read_text("utf-8"), "no secret is kept"
    after = await night.call("diagnose", server="qwen-1")
    assert (after.data["class"], after.data["number"]) == ("firmware_hiccup", 2)
    assert after.data["context"]
    assert after.data["remedy"] == {"tool": "start_server", "arguments": {"port": 0}}


async def test_what_does_not_hold_is_refused_and_nothing_is_written(night: Night) -> None:
    fail(night)
    before = files(night.lab)
    for changes, said in (
        ({"pattern": "Starting to load"}, "the log of a server that was well"),
        ({"pattern": "never said"}, "its own log is diagnosed as nothing known"),
        ({"pattern": "firmware ("}, "not a regular expression"),
        ({"name": "No Class"}, "cannot be a class"),
        ({"server": "nobody"}, "no server 'nobody'"),
    ):
        done = await night.call("propose_failure", **{**TOLD, **changes})
        assert not done.ok
        assert done.error is not None
        assert said in done.error.what, done.error
    assert files(night.lab) == before


async def test_an_agent_cannot_write_the_catalogue_itself(night: Night) -> None:
    done = await night.call("propose", kind="skill", name="x", text="", why="")
    assert not done.ok
    from nightlab import scopes

    assert scopes.protected(night.lab.root, "state/failures/new.yaml") == "people change it: propose it instead"
    assert scopes.protected(night.lab.root, "state/learned.yaml") is not None
