"""What the canary concludes from files: modules of adapters, what is served from where, and the tokens of a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightlab.adapters.card import WEIGHTS, read_card
from nightlab.adapters.fit import fit
from nightlab.errors import NightlabError, UsageError
from nightlab.files import sha256_file
from nightlab.servers.canary_checks import Check
from nightlab.servers.chat import Chat, ChatError, ChatRequest, Message
from nightlab.servers.manifest import Manifest
from nightlab.servers.rendering import expected_tokens

SHOWN = 16  # tokens on each side of the first that differs


def modules(manifest: Manifest, model: Path | None) -> list[Check]:
    """Every module of every source adapter is in the model: one that is matched in part acts in part."""
    if model is None or not (model / "config.json").is_file():
        return []
    return [_modules(Path(manifest.adapters[p.plain].path), p.source, model) for p in manifest.proofs if p.plain]


def _modules(adapter: Path, source: str, model: Path) -> Check:
    try:
        found = fit(read_card(adapter), model)
        evidence: dict[str, Any] = {"modules": found.modules, "found": found.found, "by": found.by}
        evidence |= {"problems": list(found.problems)} if found.problems else {}
        passed = not found.problems
    except NightlabError as error:
        evidence, passed = {"problems": [error.what]}, False
    return Check(
        name="modules_found", passed=passed, failure="adapter_partly_matched", evidence={"adapter": source, **evidence}
    )


async def served(chat: Chat, manifest: Manifest) -> Check:
    """Each name is served from its own folder, and the folder still holds the weights that it is named after."""
    wrong: dict[str, str] = {}
    try:
        roots = {card.id: card.root for card in await chat.models()}
    except ChatError as error:
        return Check(name="served_is_hash", passed=False, failure="adapter_changed", evidence={"error": error.what})
    for name, adapter in manifest.adapters.items():
        path = Path(adapter.path)
        if roots.get(name) is None or Path(str(roots[name])).resolve() != path.resolve():
            wrong[name] = f"is served from {roots.get(name)}"
        elif not (path / WEIGHTS).is_file() or sha256_file(path / WEIGHTS) != adapter.weights_sha256:
            wrong[name] = f"{path} no longer holds what it was named after"
    evidence = {"adapters": len(manifest.adapters), "wrong": wrong}
    return Check(name="served_is_hash", passed=not wrong, failure="adapter_changed", evidence=evidence)


async def rendering(chat: Chat, manifest: Manifest, model: Path | None, probe: str, prefill: str) -> Check:
    """A question, a question with a prefill, and a raw text are read as the model's own files say they are."""
    name = manifest.served_name
    opened = (Message("user", probe), Message("assistant", prefill))
    requests = {
        "chat": ChatRequest(name, (Message("user", probe),), max_tokens=1),
        "prefill": ChatRequest(name, opened, max_tokens=1),
        "raw": ChatRequest(name, prompt=probe, max_tokens=1),
    }
    evidence: dict[str, Any] = {}
    passed = True
    for kind, request in requests.items():
        try:
            wanted = expected_tokens(model, request) if model is not None else None
            evidence[kind], fine = await _read(chat, request, wanted)
        except (ChatError, UsageError) as error:
            evidence[kind], fine = {"error": error.what}, False
        passed = passed and fine
    return Check(name="rendered_as_intended", passed=passed, failure="template_wrong", evidence=evidence)


async def _read(chat: Chat, request: ChatRequest, wanted: list[int] | None) -> tuple[dict[str, Any], bool]:
    """How many tokens an answer says were read, and which the server says it reads, against those expected."""
    counted = (await chat.complete(request)).prompt_tokens
    try:
        told = await chat.tokens(request)
    except ChatError as error:
        if error.failure_class != "not_found":
            raise
        told = None
    if wanted is None and told is None:
        return {"tokens": counted, "not_checked": "no tokenizer here, and the server has no /tokenize"}, True
    reference = told if wanted is None else wanted
    assert reference is not None
    seen: dict[str, Any] = {
        "tokens": counted,
        "expected": len(reference),
        "by": "server" if wanted is None else "files",
    }
    if told is not None and told != reference:
        at = next((i for i, (a, b) in enumerate(zip(told, reference, strict=False)) if a != b), min(len(told), counted))
        seen |= {"read": told[max(0, at - SHOWN) : at + SHOWN], "wanted": reference[max(0, at - SHOWN) : at + SHOWN]}
    return seen, counted == len(reference) and told in (None, reference)
