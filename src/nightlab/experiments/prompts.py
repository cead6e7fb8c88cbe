"""Prompt files: a single prompt, or chat messages, each with a category.

Both formats are those of the sarcasm experiments this lab grew from (`prompt_text` with `template_mode`; `messages`
with `template_override`). A prompt is one of three modes: `chat` (the model's template, a new answer), `continue` (the
template, and the last message is gone on with), `raw` (the text as it stands). Loom templates are refused: nothing
here could render them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from nightlab.errors import PromptError, nearest
from nightlab.experiments.mistakes import sentence
from nightlab.experiments.predictions import Name, Record
from nightlab.files import read_yaml

Mode = Literal["chat", "continue", "raw"]
Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """One prompt: messages (modes chat and continue) or a raw text, never both."""

    name: str
    category: str
    mode: Mode
    messages: tuple[Message, ...] = ()
    raw: str | None = None

    @property
    def content(self) -> dict[str, object]:
        """What is sent, without its name: `{"messages": [...]}` or `{"raw": text}`."""
        return {"raw": self.raw} if self.raw is not None else {"messages": [dict(m) for m in self.messages]}

    @property
    def question(self) -> str:
        """What a reader takes for the question: the last user message, or the raw text."""
        if self.raw is not None:
            return self.raw
        asked = [m["content"] for m in self.messages if m["role"] == "user"]
        return asked[-1] if asked else self.messages[-1]["content"]


class _SimplePrompt(Record):
    name: str = ""
    category: Name = "general"
    prompt_text: str
    template_mode: Literal["Apply chat template", "No template", "Apply loom template"] = "Apply chat template"
    system_prompt: str = ""
    assistant_prefill: str = ""
    loom_filename: str | None = None


class _Message(Record):
    role: Literal["system", "user", "assistant"]
    content: str


class _ChatPrompt(Record):
    name: str = ""
    category: Name = "general"
    messages: list[_Message] = Field(min_length=1)
    template_override: Literal["No template override", "Force generation prompt", "Force continue final message"] = (
        "No template override"
    )


def load_prompts(paths: Iterable[Path]) -> list[Prompt]:
    """The prompts of files and folders (`*.yaml`, `*.yml`), sorted by name. Raises PromptError."""
    found: dict[str, Path] = {}
    prompts: list[Prompt] = []
    for path in (file for place in paths for file in prompt_files(place)):
        prompt = load_prompt(path)
        if prompt.name in found:
            hint = f"the other one is {found[prompt.name]}; give one of them another `name`"
            raise PromptError(f"two prompts are named {prompt.name!r}", where=path, hint=hint)
        found[prompt.name] = path
        prompts.append(prompt)
    return sorted(prompts, key=lambda prompt: prompt.name)


def prompt_files(place: Path) -> list[Path]:
    """The prompt files at a place, which is a file or a folder. Raises PromptError where there is none."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        close = nearest(place.name, beside)
        raise PromptError(
            "no such prompt file or folder", where=place, hint=f"did you mean {close}?" if close else None
        )
    files = sorted(p for p in place.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())
    if not files:
        raise PromptError("the prompt folder holds no *.yaml file", where=place, hint="add one file for each prompt")
    return files


def load_prompt(path: Path) -> Prompt:
    """The prompt of one file, named by its `name` or by the file. Raises PromptError."""
    data = read_yaml(path, PromptError)
    if not isinstance(data, dict):
        raise PromptError("a prompt file must be a mapping", where=path, hint="give `prompt_text:` or `messages:`")
    schema = _ChatPrompt if "messages" in data else _SimplePrompt
    try:
        document = schema.model_validate(data)
    except ValidationError as error:
        what, hint = sentence(error, schema)
        raise PromptError(what, where=path, hint=hint) from None
    name = document.name or path.stem
    return _simple(document, name, path) if isinstance(document, _SimplePrompt) else _chat(document, name, path)


def _simple(document: _SimplePrompt, name: str, path: Path) -> Prompt:
    if not document.prompt_text.strip():
        raise PromptError("the prompt has no text", where=path, hint="fill `prompt_text`")
    if document.template_mode == "Apply loom template" or document.loom_filename:
        raise PromptError("loom templates cannot be rendered", where=path, hint="use `template_mode: No template`")
    if document.template_mode == "No template":
        if document.system_prompt or document.assistant_prefill:
            hint = "write both into `prompt_text`, or use `template_mode: Apply chat template`"
            raise PromptError("`No template` sends neither a system prompt nor a prefill", where=path, hint=hint)
        return Prompt(name, document.category, "raw", raw=document.prompt_text)
    messages = [
        {"role": role, "content": content}
        for role, content in (
            ("system", document.system_prompt),
            ("user", document.prompt_text),
            ("assistant", document.assistant_prefill),
        )
        if content
    ]
    return Prompt(name, document.category, "continue" if document.assistant_prefill else "chat", tuple(messages))


def _chat(document: _ChatPrompt, name: str, path: Path) -> Prompt:
    messages = tuple({"role": m.role, "content": m.content} for m in document.messages)
    empty = [number for number, message in enumerate(messages) if not message["content"].strip()]
    if empty:
        raise PromptError(f"`messages[{empty[0]}].content` has no text", where=path)
    if messages[-1]["role"] == "system":
        raise PromptError("the last message is the system's: there is nothing to answer", where=path)
    last_is_answer = messages[-1]["role"] == "assistant"
    modes: dict[str, Mode] = {
        "No template override": "continue" if last_is_answer else "chat",
        "Force generation prompt": "chat",
        "Force continue final message": "continue",
    }
    return Prompt(name, document.category, modes[document.template_override], messages)
