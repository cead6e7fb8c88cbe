"""The canary against servers that load adapters and misbehave in silence: no answer of them may count."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

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
