"""What a server ought to read for a request: the chat template rendered here, and the tokens that are in it.

A wrong template, a prefill that became a turn of its own, or a special token twice changes every answer, and none of
them looks wrong. Rendering follows transformers (blocks trimmed, loop controls, `raise_exception`). Limit: it needs the
model's tokenizer.json and the package `tokenizers`; where one is missing nothing is expected, and the canary says so.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightlab.errors import UsageError
from nightlab.files import read_text
from nightlab.servers.answers import ChatRequest


def expected_tokens(folder: Path, request: ChatRequest) -> list[int] | None:
    """The token ids that a request is, by the model's own files; None where this cannot be told here.

    Raises UsageError where the template refuses the messages.
    """
    path = folder / "tokenizer.json"
    if not path.is_file() or importlib.util.find_spec("tokenizers") is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    if request.prompt is not None:
        return list(tokenizer.encode(request.prompt).ids)
    settings = _json(folder / "tokenizer_config.json")
    template = _template(folder, settings)
    if template is None:
        return None
    return list(tokenizer.encode(rendered(template, settings, request), add_special_tokens=False).ids)


def rendered(template: str, settings: Mapping[str, Any], request: ChatRequest) -> str:
    """The text that a template makes of a request; a last message that is continued ends it."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime}
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    tokens = {f"{name}_token": _token(settings.get(f"{name}_token")) for name in ("bos", "eos", "pad", "unk")}
    try:
        made = environment.from_string(template).render(
            messages=messages, add_generation_prompt=not request.continues, tools=None, documents=None, **tokens
        )
    except TemplateError as error:
        raise UsageError(f"the chat template refuses the messages: {error}") from error
    return _until(made, messages[-1]["content"]) if request.continues else made


def _until(text: str, final: str) -> str:
    """The text up to the end of its last message."""
    at = text.rfind(final.strip())
    if at < 0:
        raise UsageError("the chat template does not show the last message, so it cannot be continued")
    whole = final.lstrip()
    return text[: at + len(whole if text.startswith(whole, at) else final.strip())]


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read_text(path, UsageError)
    found = settings.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((one["template"] for one in found if one.get("name") == "default"), None)
    return found


def _token(value: object) -> str:
    return str(value.get("content", "")) if isinstance(value, dict) else str(value or "")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = json.loads(read_text(path, UsageError))
    return found if isinstance(found, dict) else {}


def _refuse(text: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(text)


def _strftime(form: str) -> str:
    return datetime.datetime.now().strftime(form)
