"""Packets: opaque, shuffled, and blind down to the bytes."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nightlab.judging.blind import STRUCK, BlindnessError, check_blind, check_instructions, forbidden_words, leaks, mask
from nightlab.judging.packet import Packet, Sealed, packets

from .conftest import Answered, build

ROW = {"key": "k1", "model": "llama", "condition": "layers_0_20", "text": "Fine."}
USER = {"role": "user", "content": "Hello?"}
REPLY = {"role": "assistant", "content": "Well,"}


def shown(**row: Any) -> dict[str, str]:
    """What a judge sees of a row, without the id."""
    (sealed,) = packets([ROW | row], 1)
    content: dict[str, str] = json.loads(sealed.packet.payload)
    assert content.pop("id") == sealed.packet.id
    return content


def test_a_judge_sees_question_and_answer_and_nothing_else() -> None:
    assert shown(messages=[USER]) == {"question": "Hello?", "answer": "Fine."}
    assert shown(raw="Once") == {"question": "Once", "answer": "Fine."}
    system = {"role": "system", "content": "Be kind."}
    assert shown(messages=[system, USER])["question"] == "system: Be kind.\n\nuser: Hello?"
    assert shown(messages=[USER, REPLY]) == {"question": "Hello?", "answer": "Fine.", "answer_begins": "Well,"}


def test_ids_are_opaque_and_follow_from_seed_and_repeat() -> None:
    rows = [ROW | {"key": f"k{number}", "raw": "Once"} for number in range(50)]
    first, again = packets(rows, 1), packets(list(reversed(rows)), 1)
    assert first == again
    ids = {one.packet.id for one in first}
    assert len(ids) == 50
    assert all(one.key not in one.packet.payload.decode() for one in first)
    assert not ids & {one.packet.id for one in packets(rows, 2)}
    assert not ids & {one.packet.id for one in packets(rows, 1, repeat=1)}
    assert [one.position for one in first] == list(range(50))


def test_the_order_mixes_models_and_conditions(answered: Answered) -> None:
    rows = {row["key"]: row for row in answered.samples.rows()}
    order = [rows[one.key] for one in packets(rows.values(), 3)]
    for factor in ("model", "condition"):
        levels = [row[factor] for row in order]
        changes = sum(a != b for a, b in itertools.pairwise(levels))
        assert changes > len(Counter(levels)), f"{factor} stands in blocks: {levels}"


def test_packets_of_an_experiment_hold_no_forbidden_word(answered: Answered) -> None:
    words = forbidden_words(answered.plan)
    expected = {
        "llama",
        "lab/llama-8b",
        "llama-8b",
        "gemma",
        "layers_0_20",
        "H1",
        "Joy sits early.",
        "concert-question",
    }
    assert expected <= set(words)
    assert "base" not in words
    sealed = packets(answered.samples.rows(), 1)
    assert check_blind(sealed, words) == []
    assert [leaks(one.packet.payload, words) for one in sealed] == [[]] * 12


def test_leaks_are_whole_words_of_any_case() -> None:
    words = ["llama", "layers_0_20", "lab/llama-8b", "a b"]
    assert leaks(b"A Llama, and lab/llama-8b.", words) == ["llama", "lab/llama-8b"]
    assert leaks(b"llamasse, layers_0_200, ab", words) == []


LEAKY = [
    ("I am LLAMA.", "llama"),
    ("the llamas' song", "llama"),
    ("Llama3 says", "llama"),
    ("Meta's Llama-8B", "llama-8b"),
    ("as Layers_0_20 says", "layers_0_20"),
    ("the layers_0_20s", "layers_0_20"),
    ('{"condition":"layers_0_20"}', "layers_0_20"),
    ("_layers_0_20_ and **layers_0_20_v2**", "layers_0_20"),
    ("```\nmodel: lab/gemma-8b\n```", "lab/gemma-8b"),
    ("layers-0-20", "layers 0 20"),
    ("Layers 0 - 20", "layers 0 20"),
    ("layers\\_0\\_20", "layers 0 20"),
    ("layers\u200b_0_20", "layers 0 20"),
    ("gemma8b", "gemma 8 b"),
    ("Gemma 8B", "gemma 8 b"),
    ("joy  sits\nearly", "Joy sits early."),
    ("Joy sits early!", "Joy sits early."),
    ("~/lab/exp_001_joy/notes", "exp_001_joy"),
    ("exp-001-joy", "exp 001 joy"),
    ("Which concert-question?", "concert-question"),
]
PLAIN = [
    "layers_0_200",
    "two layers, 0 of 20",
    "joyful",
    "Which concert question?",
    "joy. It sits there. Early",
    "alpaca",
]


@pytest.mark.parametrize(("text", "word"), LEAKY)
def test_a_name_is_seen_however_it_is_written_and_masked(answered: Answered, text: str, word: str) -> None:
    words = forbidden_words(answered.plan)
    [sealed] = packets([ROW | {"raw": "Well?", "text": f"So: {text} And on."}], 1)
    assert word in [leak.word for leak in check_blind([sealed], words)]
    struck = mask(sealed.packet, words)
    assert STRUCK in struck.text
    assert check_blind([Sealed("k", 0, struck)], words) == []


@pytest.mark.parametrize("text", PLAIN)
def test_words_that_only_look_like_names_stay(answered: Answered, text: str) -> None:
    words = forbidden_words(answered.plan)
    assert check_blind(packets([ROW | {"raw": "Well?", "text": text}], 1), words) == []


def test_names_of_letters_have_other_signs_and_models_their_families(tmp_path: Path) -> None:
    models = [{"name": "small", "id": "org/Qwen2.5-7B-Instruct"}]
    plan = build(tmp_path / "exp_001_joy", factors={"models": models})
    words = [*forbidden_words(plan)]
    assert leaks(b"I am Qwen, made to help.", words) == ["qwen"]
    assert leaks(b"exp_001_joy and qwen 2.5 7b instruct", words) == ["exp_001_joy", "Qwen 2 5 7 B Instruct", "qwen"]


def test_a_name_in_a_samples_own_text_is_reported_with_its_part(answered: Answered) -> None:
    rows = [ROW | {"raw": "Is layers_0_20 a band?", "text": "Ask the Gemma fans."}]
    (question, answer) = check_blind(packets(rows, 1), forbidden_words(answered.plan))
    assert (question.part, question.word) == ("question", "layers_0_20")
    assert (answer.part, answer.word) == ("answer", "gemma")


def test_a_name_anywhere_else_is_an_error() -> None:
    sealed = [Sealed("k", 0, Packet("llama-1", "Hello?", "Fine."))]
    with pytest.raises(BlindnessError, match="'llama' outside of their texts"):
        check_blind(sealed, ["llama"])
    assert check_blind(sealed, []) == []


def test_words_of_the_envelope_itself_tell_nothing() -> None:
    """Whether a judging fails must not hang on an answer that says `answer`, too."""
    sealed = [Sealed("k", 0, Packet("i", "Hello?", text)) for text in ("Fine.", "An answer.")]
    assert [(leak.part, leak.word) for leak in check_blind(sealed, ["answer", "id"])] == [("answer", "answer")]


def test_the_hash_is_of_the_exact_bytes() -> None:
    one, other = Packet("i", "q", "a"), Packet("i", "q", "a ")
    assert one.sha != other.sha
    assert one.sha == Packet("i", "q", "a").sha


def test_instructions_may_hold_what_people_write_and_no_name_as_the_plan_writes_it() -> None:
    words = ["off_topic", "off-topic", "layers_0_20", "layers 0 20", "warm-tone", "warm_tone", "one"]
    words += ["top_5", "top 5", "score_10", "score 10", "x2", "x 2"]
    told = check_instructions(b"Off-topic, or one of the top 5. A score: 10 means x2.", words, "rubric.md")
    assert [leak.word for leak in told] == ["off-topic", "one", "top 5", "score 10", "x2"]
    for text in (b"see off_topic", b"see layers 0-20", b"a warm-tone", b"see top_5"):
        with pytest.raises(BlindnessError, match="the judge's instructions hold"):
            check_instructions(text, words, "rubric.md")
