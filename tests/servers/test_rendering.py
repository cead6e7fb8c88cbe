"""What a server ought to read: our rendering against transformers', template for template and token for token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightlab import practice
from nightlab.errors import UsageError
from nightlab.servers.chat import ChatRequest, Message
from nightlab.servers.rendering import expected_tokens, rendered

CHAT = (Message("system", "Be brief."), Message("user", "What do you think about mondays?"))
TEMPLATE = """{%- for m in messages %}
    {%- if m.role == 'tool' %}{% break %}{% endif %}
    {{- '<|' + m['role'] + '|>' + (m.content | trim) + eos_token }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>' }}{{ strftime_now('')}}
{%- endif %}"""


@pytest.mark.parametrize("name", practice.NAMES)
@pytest.mark.parametrize("prefill", [None, "Oh, well ", " Sure"])
def test_tokens_are_those_of_transformers(name: str, prefill: str | None) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = practice.model_dir(name)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    messages = CHAT if prefill is None else (*CHAT, Message("assistant", prefill))
    dicts = [{"role": m.role, "content": m.content} for m in messages]
    text = tokenizer.apply_chat_template(
        dicts, tokenize=False, add_generation_prompt=prefill is None, continue_final_message=prefill is not None
    )
    assert expected_tokens(folder, ChatRequest("m", messages)) == tokenizer.encode(text, add_special_tokens=False)
    assert expected_tokens(folder, ChatRequest("m", prompt="Monday is")) == tokenizer.encode("Monday is")


def test_blocks_are_trimmed_as_transformers_does(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(practice.model_dir("llama"), local_files_only=True)
    dicts = [{"role": m.role, "content": m.content} for m in CHAT]
    settings = {"eos_token": {"content": tokenizer.eos_token}}
    theirs = tokenizer.apply_chat_template(dicts, chat_template=TEMPLATE, tokenize=False, add_generation_prompt=True)
    assert rendered(TEMPLATE, settings, ChatRequest("m", CHAT)) == theirs


def test_a_template_that_refuses_is_a_usage_error() -> None:
    folder = practice.model_dir("llama")
    with pytest.raises(UsageError, match="Unknown role: tool"):
        expected_tokens(folder, ChatRequest("m", (Message("tool", "x"),)))
    with pytest.raises(UsageError, match="cannot be continued"):
        rendered("nothing", {}, ChatRequest("m", (Message("assistant", "Oh"),)))


def test_nothing_is_expected_of_a_model_without_tokenizer_or_template(tmp_path: Path) -> None:
    assert expected_tokens(tmp_path, ChatRequest("m", CHAT)) is None
    source = practice.model_dir("llama") / "tokenizer.json"
    (tmp_path / "tokenizer.json").write_bytes(source.read_bytes())
    assert expected_tokens(tmp_path, ChatRequest("m", CHAT)) is None
    named = [{"name": "tools", "template": "no"}, {"name": "default", "template": "{{ messages[0].content }}"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert expected_tokens(tmp_path, ChatRequest("m", CHAT)) is not None
