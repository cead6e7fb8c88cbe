"""The canary against servers that load adapters and misbehave in silence: no answer of them may count."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nightlab import practice
from nightlab.adapters.compile import Compiled
from nightlab.compute.local import Local
from nightlab.errors import CanaryFailed
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.manifest import load
from nightlab.servers.server import Server, Wanted

Conditions = dict[str, Compiled]
Double = Callable[..., Wanted]


async def launch(lab: Lab, place: Local, wanted: Wanted, key: str = "k1", port: int = 0) -> Server:
    return await Server.launch(lab, place, wanted, key=key, night="n1", port=port)


def kinds(events: EventLog) -> list[str]:
    return [row["kind"] for row in events.read()]


async def test_base_is_an_adapter_of_zeros_where_plain_requests_are_not_safe(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions, "--leaky", "--delay", "0.2"))
    manifest = await server.ensure_ready(events)
    null = manifest.conditions["base"]
    assert manifest.adapters[null].condition == "(zero)"
    assert manifest.canary is not None
    (isolation,) = [c for c in manifest.canary["checks"] if c["name"] == "plain_beside_adapters"]
    assert isolation["evidence"]["isolated"] is False, "the canary saw that plain requests get a neighbour's adapter"


async def test_a_plain_base_that_is_contaminated_fails_the_canary(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    wanted = double(conditions, "--leaky", "--delay", "0.2", engine="embedded")
    server = await launch(lab, place, wanted)
    assert server.manifest.conditions["base"] == server.manifest.served_name
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "base_contaminated"
    assert not server.alive(), "a server that is not proven does not go on running"


async def test_an_adapter_without_effect_is_a_missing_treatment(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions, "--inert"))
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "treatment_missing"
    assert caught.value.hint is not None
    assert "claim" in caught.value.hint
    manifest = load(lab, server.manifest.id)
    assert (manifest.state, manifest.failure) == ("failed", "treatment_missing")
    assert manifest.canary is not None
    (effect,) = [c for c in manifest.canary["checks"] if c["name"] == "full_differs_from_base"]
    assert effect["evidence"]["mean_abs_dlogprob"] == 0
    assert kinds(events) == ["server_starting", "canary", "server_failed"]
    with pytest.raises(CanaryFailed) as again:
        await Server.attach(lab, place, manifest.id).ensure_ready(events)
    assert (again.value.failure, again.value.hint) == ("treatment_missing", caught.value.hint)


async def test_a_condition_that_does_not_answer_fails_the_canary(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    fault = {"kind": "wrong_model", "times": None, "model": conditions["late"].name}
    server = await launch(lab, place, double(conditions, "--faults", json.dumps([fault])))
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "canary_unanswered"
    canary = [row for row in events.read() if row["kind"] == "canary"][-1]
    assert "contract_broken" in canary["evidence"]["late"]


PLAIN_FAILS = '[{"kind": "status", "times": null, "skip": 1, "model": "{served_name}"}]'


@pytest.mark.parametrize(
    ("flags", "failure"),
    [
        (("--stuck",), "conditions_identical"),
        (("--lenient",), "unknown_model_answered"),
        (("--faults", PLAIN_FAILS), "canary_unanswered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_server_whose_names_prove_nothing_fails_the_canary(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double, flags: tuple[str], failure: str
) -> None:
    server = await launch(lab, place, double(conditions, *flags))
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == failure


async def test_an_adapter_of_which_a_part_is_in_the_model_is_refused(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    """The server loads it; the model's own files say that its modules are not there, or have other sizes."""
    wanted = replace(double(conditions), path=practice.model_dir("llama"))
    server = await launch(lab, place, wanted)
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "adapter_partly_matched"
    canary = [row for row in events.read() if row["kind"] == "canary"][-1]
    assert canary["evidence"]["found"] == canary["evidence"]["modules"] == 4
    assert "made for size" in canary["evidence"]["problems"][0]


async def test_a_folder_that_changed_under_its_name_fails_the_next_canary(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions))
    await server.ensure_ready(events)
    weights = conditions["late"].path / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(CanaryFailed) as caught:
        await server.prove_again(events, "end of a sweep")
    assert caught.value.failure == "adapter_changed"
    assert not server.alive()
    record = load(lab, server.manifest.id)
    assert [(one["at"], one["passed"]) for one in record.canaries] == [("started", True), ("end of a sweep", False)]


@pytest.mark.real
@pytest.mark.slow
async def test_a_server_with_another_chat_template_is_found_out(
    lab: Lab, place: Local, events: EventLog, tmp_path: Path
) -> None:
    shutil.copytree(practice.model_dir("llama"), tmp_path / "model")
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text(template.read_text() + "{{ bos_token }}")
    command = (sys.executable, "-P", "-m", "nightlab", "serve", str(tmp_path / "model"))
    argv = (*command, "--port", "{port}", "--served-name", "{served_name}")
    wanted = Wanted("llama", practice.model_id("llama"), practice.model_dir("llama"), {}, argv=argv)
    server = await launch(lab, place, wanted)
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "template_wrong"
    seen = [row for row in events.read() if row["kind"] == "canary"][-1]["evidence"]
    assert seen["chat"]["tokens"] == seen["chat"]["expected"] + 1
    assert seen["chat"]["read"] != seen["chat"]["wanted"]
    assert "read" not in seen["raw"]
