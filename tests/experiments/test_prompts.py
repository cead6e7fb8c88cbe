"""Prompt files: both formats, the three modes, and a sentence for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.errors import PromptError
from nightlab.experiments.prompts import load_prompt, load_prompts

USER = {"role": "user", "content": "Hello?"}
REPLY = {"role": "assistant", "content": "Well,"}


def write(folder: Path, data: object, name: str = "one") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_a_single_prompt_becomes_messages(tmp_path: Path) -> None:
    data = {
        "name": "hi",
        "category": "direct",
        "prompt_text": "Hello?",
        "system_prompt": "Be kind.",
        "loom_filename": None,
    }
    prompt = load_prompt(write(tmp_path, data))
    assert (prompt.name, prompt.category, prompt.mode, prompt.raw) == ("hi", "direct", "chat", None)
    assert prompt.messages == ({"role": "system", "content": "Be kind."}, USER)
    assert prompt.content == {"messages": list(prompt.messages)}
    assert prompt.question == "Hello?"


def test_a_prefill_is_continued(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path, {"prompt_text": "Hello?", "assistant_prefill": "Well,"}))
    assert (prompt.name, prompt.category, prompt.mode) == ("one", "general", "continue")
    assert prompt.messages == (USER, REPLY)


def test_a_raw_prompt_is_sent_as_it_stands(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path, {"prompt_text": " Once\n upon ", "template_mode": "No template"}))
    assert (prompt.mode, prompt.raw, prompt.content) == ("raw", " Once\n upon ", {"raw": " Once\n upon "})
    assert prompt.question == " Once\n upon "


@pytest.mark.parametrize(
    ("messages", "override", "mode"),
    [
        ([USER], None, "chat"),
        ([USER, REPLY], None, "continue"),
        ([USER, REPLY], "Force generation prompt", "chat"),
        ([USER], "Force continue final message", "continue"),
        ([REPLY], None, "continue"),
    ],
)
def test_a_chat_prompt_continues_as_its_override_says(
    tmp_path: Path, messages: list[dict[str, str]], override: str | None, mode: str
) -> None:
    data: dict[str, Any] = {"messages": messages} | ({"template_override": override} if override else {})
    prompt = load_prompt(write(tmp_path, data))
    assert (prompt.mode, list(prompt.messages)) == (mode, messages)
    assert prompt.question == (USER if USER in messages else REPLY)["content"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"prompt_text": "  \n"}, "no text"),
        ({"name": "x"}, "`prompt_text` is missing"),
        ({"prompt_txt": "x"}, "did you mean `prompt_text`"),
        ({"prompt_text": 3}, "`prompt_text` must be a text"),
        ({"prompt_text": "x", "template_mode": "No templat"}, "did you mean `No template`"),
        ({"prompt_text": "x", "template_mode": "Apply loom template"}, "loom"),
        ({"prompt_text": "x", "template_mode": "No template", "system_prompt": "y"}, "neither a system prompt"),
        ({"messages": []}, "`messages` is empty"),
        ({"prompt_text": "x", "category": ""}, "`category` is empty"),
        ({"messages": [USER, {"role": "user", "content": " "}]}, "`messages[1].content` has no text"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "did you mean `user`"),
        ({"messages": [{"role": "system", "content": "x"}]}, "nothing to answer"),
        ({"messages": [USER], "prompt_text": "x"}, "unknown key `prompt_text`"),
        ("just text", "must be a mapping"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_file(tmp_path: Path, data: object, said: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(PromptError) as caught:
        load_prompt(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_text_that_is_not_utf8_or_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_bytes(b"prompt_text: caf\xe9\n")
    with pytest.raises(PromptError, match="not UTF-8 text: byte 16"):
        load_prompt(path)
    path.write_text("prompt_text: [\n")
    with pytest.raises(PromptError, match=r"one\.yaml:"):
        load_prompt(path)


def test_a_folder_is_sorted_by_name_and_names_are_unique(tmp_path: Path) -> None:
    write(tmp_path, {"name": "b", "prompt_text": "1"}, "1")
    write(tmp_path, {"name": "a", "prompt_text": "2"}, "2")
    (tmp_path / "notes.txt").write_text("not a prompt")
    assert [prompt.name for prompt in load_prompts([tmp_path])] == ["a", "b"]
    write(tmp_path, {"name": "a", "prompt_text": "3"}, "3")
    with pytest.raises(PromptError, match="two prompts are named 'a'") as caught:
        load_prompts([tmp_path])
    assert "2.yaml" in str(caught.value)
    assert "3.yaml" in str(caught.value)


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    with pytest.raises(PromptError, match="holds no"):
        load_prompts([tmp_path / "prompts"])
    with pytest.raises(PromptError, match="did you mean prompts"):
        load_prompts([tmp_path / "prompt"])
    with pytest.raises(PromptError, match="no such prompt file or folder"):
        load_prompts([tmp_path / "no" / "where"])
