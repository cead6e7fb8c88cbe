"""Which server a plan's model needs, and which of the lab's proven servers is it.

A server is matched by content: the model's id and the compiled adapter behind each condition, never by a name alone.
"""

from __future__ import annotations

import shlex
from dataclasses import replace

from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.compute import open_place
from nightlab.errors import AdapterError, PlanError, ServerError
from nightlab.events import EventLog
from nightlab.experiments.identity import adapter_folder, model_folder, num_layers
from nightlab.experiments.plan import CONFIG, Plan
from nightlab.experiments.probe import needed_length
from nightlab.experiments.schema import Model
from nightlab.experiments.sweep import Endpoint
from nightlab.lab import Lab
from nightlab.servers.leases import seconds_of, take_over
from nightlab.servers.manifest import Manifest
from nightlab.servers.server import Server, Wanted, list_servers
from nightlab.settings import NOTHING


def compiled(lab: Lab, plan: Plan, model: Model) -> dict[str, Compiled]:
    """The compiled adapter of each condition of a model. Raises AdapterError, AmplificationError, PlanError."""
    layers = num_layers(plan, model)
    found = {}
    for condition in plan.conditions:
        if condition.amplification is None:
            continue
        adapter, weights = condition.amplification.single(layers)
        source = adapter_folder(plan, model, adapter)
        if source is None:
            raise AdapterError(f"the model {model.name} has no adapter {adapter}", where=condition.path)
        found[condition.name] = compile_adapter(source, weights, lab.adapters_cache)
    return found


def wanted(lab: Lab, plan: Plan, model: Model) -> Wanted:
    """The server that a model of a plan needs. Raises PlanError where the model is not on this machine."""
    folder = model_folder(plan, model)
    if folder is None:
        raise PlanError(f"the model {model.name} is not on this machine", where=plan.folder / CONFIG)
    serving, needed = plan.serving, needed_length(plan, folder)
    return Wanted(
        model=model.name,
        model_id=model.id,
        path=folder,
        adapters=compiled(lab, plan, model),
        engine=serving.engine or lab.config.engine,
        revision=model.revision,
        options={"max_model_len": needed, **serving.options()},
        extra=tuple(serving.extra),
        resources=serving.resources,
        keep_seconds=seconds_of(serving.keep) if serving.keep else 0.0,
        least={"max_model_len": needed},
        before=launcher(lab),
    )


def launcher(lab: Lab) -> tuple[str, ...]:
    """The words that the lab's setting puts before every server's command."""
    words = lab.config.server_prefix
    return () if words == NOTHING else tuple(shlex.split(words))


def ready_server(lab: Lab, plan: Plan, model: Model) -> Manifest | None:
    """The newest proven server that serves this model on its engine with exactly these conditions, or None."""
    engine = plan.serving.engine or lab.config.engine
    wanted = (model.name, model.id, model.revision, engine, "ready")
    names = {condition: one.name for condition, one in compiled(lab, plan, model).items()}
    for manifest in reversed(list_servers(lab)):
        found = (manifest.model, manifest.model_id, manifest.revision, manifest.engine, manifest.state)
        if found == wanted and names.items() <= manifest.conditions.items():
            return manifest
    return None


def endpoint(lab: Lab, plan: Plan, model: Model) -> Endpoint:
    """The proven server of a model, as a sweep asks it. Raises ServerError where there is none."""
    manifest = ready_server(lab, plan, model)
    if manifest is None or manifest.url is None:
        hint = "call start_server, and wait for it"
        raise ServerError(f"no proven server of {model.name}", failure="no_server", where=plan.name, hint=hint)
    return endpoint_of(manifest)


def endpoint_of(manifest: Manifest) -> Endpoint:
    """A proven server as a sweep asks it."""
    proof = manifest.canary["id"] if manifest.canary else None
    return Endpoint(url=manifest.url or "", server=manifest.id, conditions=manifest.conditions, canary=proof)


async def reached(lab: Lab, plan: Plan, endpoint: Endpoint, night: str, events: EventLog) -> Endpoint:
    """The same endpoint with the way to it, which this process holds open; the night owns it from now on.

    Raises ServerError for a server that is gone meanwhile, NightlabError.
    """
    server = Server.attach(lab, open_place(lab), endpoint.server)
    await server.check(events)
    await take_over(server, night, seconds_of(plan.serving.keep) if plan.serving.keep else 0.0)
    return replace(endpoint, url=await server.route(events))
