"""Which server a plan's model needs, and which of the lab's proven servers is it.

A server is matched by content: the model's id and the compiled adapter behind each condition, never by a name alone.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.compute import open_place
from nightlab.errors import AdapterError, PlanError, ServerError
from nightlab.experiments.identity import adapter_folder, model_folder, num_layers
from nightlab.experiments.plan import CONFIG, Plan
from nightlab.experiments.prompts import Prompt
from nightlab.experiments.schema import Model
from nightlab.experiments.sweep import Endpoint
from nightlab.files import read_text
from nightlab.lab import Lab
from nightlab.servers.leases import seconds_of, take_over
from nightlab.servers.manifest import Manifest
from nightlab.servers.server import Server, Wanted, list_servers
from nightlab.settings import NOTHING

ROUND = 256  # tokens to which a server's length is rounded up
TEMPLATE = 64  # tokens that a chat template may add to a message


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


def needed_length(plan: Plan, folder: Path) -> int:
    """Tokens that the longest prompt of a plan and its answer can take, at most what the model has positions for.

    A prompt has fewer tokens than bytes, and a chat template adds some to every message.
    """
    longest = max((_bytes(prompt) for prompt in plan.prompts), default=0)
    asked = -(-(longest + plan.sampling.max_tokens) // ROUND) * ROUND
    config = json.loads(read_text(folder / "config.json", PlanError))
    text = config.get("text_config") or config
    return min(asked, int(text.get("max_position_embeddings") or asked))


def _bytes(prompt: Prompt) -> int:
    texts = [m["content"] for m in prompt.messages] if prompt.raw is None else [prompt.raw]
    return sum(len(text.encode()) + TEMPLATE for text in texts) + TEMPLATE


def ready_server(lab: Lab, plan: Plan, model: Model) -> Manifest | None:
    """The newest proven server that serves this model with exactly these conditions, or None."""
    names = {condition: one.name for condition, one in compiled(lab, plan, model).items()}
    for manifest in reversed(list_servers(lab)):
        same = (manifest.model, manifest.model_id, manifest.state) == (model.name, model.id, "ready")
        if same and names.items() <= manifest.conditions.items():
            return manifest
    return None


def endpoint(lab: Lab, plan: Plan, model: Model) -> Endpoint:
    """The proven server of a model, as a sweep asks it. Raises ServerError where there is none."""
    manifest = ready_server(lab, plan, model)
    if manifest is None or manifest.url is None:
        hint = "call start_server, and wait for it"
        raise ServerError(f"no proven server of {model.name}", failure="no_server", where=plan.name, hint=hint)
    return Endpoint(url=manifest.url, server=manifest.id, conditions=manifest.conditions)


async def reached(lab: Lab, plan: Plan, endpoint: Endpoint, night: str) -> Endpoint:
    """The same endpoint with the way to it, which this process holds open; the night owns it from now on.

    Raises NightlabError.
    """
    server = Server.attach(lab, open_place(lab), endpoint.server)
    await take_over(server, night, seconds_of(plan.serving.keep) if plan.serving.keep else 0.0)
    return replace(endpoint, url=await server.route())
