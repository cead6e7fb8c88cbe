"""Chat data and recipes: what is wrong is said in one sentence, with the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.errors import UsageError
from nightlab.training.chats import held_out, read_chats
from nightlab.training.recipe import read_recipe

GOOD = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Oh, hi."}]}'


def chat(*messages: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in messages]})


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ('{"messages": [', "malformed JSON", "one chat per line"),
        ('["user"]', "no `messages`", "one chat per line"),
        ('{"mesages": []}', "no `messages`", "'mesages' meant"),
        ('{"messages": []}', "must be a list of messages", ""),
        ('{"messages": [{"role": "user"}]}', "message 1 needs a `role` and a `content`", ""),
        (chat(("usr", "Hi"), ("assistant", "Yes")), "message 1 has the unknown role 'usr'", "did you mean 'user'?"),
        (chat(("tool", "Hi"), ("assistant", "Yes")), "unknown role 'tool'", "roles: system, user, assistant"),
        (chat(("user", "Hi"), ("assistant", "Yes"), ("user", "And?")), "the last message is the user's", ""),
        (chat(("user", "Hi"), ("system", "Be ironic."), ("assistant", "Yes")), "message 2 is the system's", ""),
        (chat(("user", " "), ("assistant", "Yes")), "message 1 has no text", ""),
    ],
)
def test_a_bad_row_is_named_by_its_line(line: str, said: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_chats(path)
    assert said in caught.value.what
    assert caught.value.where == f"{path}:3"
    assert hint in (caught.value.hint or "")


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the data set is empty"):
        read_chats(path)


def test_the_held_out_rows_follow_from_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(GOOD.replace("Hi", f"Hi {n}") for n in range(20)), encoding="utf-8")
    rows = read_chats(path).rows
    learn, measure = held_out(rows, 0.2, seed=3)
    assert (len(learn), len(measure)) == (16, 4)
    assert sorted(row.line for row in (*learn, *measure)) == list(range(1, 21))
    assert held_out(rows, 0.2, seed=3) == (learn, measure)
    assert held_out(rows, 0.2, seed=4)[1] != measure
    assert held_out(rows[:9], 0.2, seed=3)[1] == []


def test_a_recipe_file_is_overridden_by_flags_and_finds_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text(GOOD, encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text("model: practice:qwen\ndata: chats.jsonl\nrank: 8\nseed: 1\n", encoding="utf-8")
    recipe = read_recipe(path, {"seed": 7, "steps": None})
    assert (recipe.model, recipe.rank, recipe.seed, recipe.scale) == ("practice:qwen", 8, 7, 16.0)
    assert recipe.data == str(tmp_path / "chats.jsonl")


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("model: m\ndata: d\nrnak: 8\n", "unknown key `rnak`", "did you mean `rank`?"),
        ("data: d\n", "`model` is missing", "nightlab train --help"),
        ("rank: 8\n", "`model` is missing (and 1 more)", "nightlab train --help"),
        ("model: m\ndata: d\nrank: 0\n", "`rank` must be greater than or equal to 1", ""),
        ("- model\n", "must be a mapping", "model:"),
    ],
)
def test_a_bad_recipe_is_one_sentence(text: str, said: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_recipe(path, {})
    assert said in caught.value.what
    assert hint in (caught.value.hint or "")


def test_what_makes_the_adapter_is_its_identity(tmp_path: Path) -> None:
    first = read_recipe(None, {"model": "a", "data": "b"})
    assert first.identity("d", "m") == read_recipe(None, {"model": "x", "data": "y"}).identity("d", "m")
    assert first.identity("d", "m") != read_recipe(None, {"model": "a", "data": "b", "seed": 1}).identity("d", "m")
    assert first.identity("d", "m") != first.identity("other data", "m")


def test_an_estimate_says_memory_and_steps(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(GOOD.replace("Hi", f"Hi {n}") for n in range(40)), encoding="utf-8")
    words = ["train", "--model", "practice:llama", "--data", str(path), "--batch", "9", "--epochs", "3", "--estimate"]
    done = CliRunner().invoke(cli, [*words, "--json"])
    told = json.loads(done.output)
    assert told["steps"] == 3 * 4, "36 chats to learn from"
    assert told["gib"] > 0
    said = CliRunner().invoke(cli, words).output
    assert "at most 12 steps of 9 chats, of 36 to learn from; chats above max_length (1024 tokens) are left out" in said
