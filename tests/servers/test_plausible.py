"""Rows that keep every contract and cannot be: each guard fires, and none where the canary explains what is seen."""

from __future__ import annotations

from typing import Any

from nightlab.servers.plausible import implausible
from nightlab.servers.readings import Reading

CONDITIONS = {"base": "m", "full": "a_1", "late": "a_2"}


def readings(**words: str) -> dict[str, list[Reading]]:
    """What the canary heard under each condition: three answers of these words."""
    return {
        CONDITIONS[name]: [Reading(text=text, tokens=tuple(text.split()), logprobs=(-0.1,) * len(text.split()))] * 3
        for name, text in words.items()
    }


HEARD = readings(base="one two three four five", full="oh how very wonderful", late="one two three four five")


def row(condition: str, prompt: int, **changes: Any) -> dict[str, Any]:
    plain = {"condition": condition, "prompt": f"p{prompt}", "replicate": 1, "latency": 0.2, "completion_tokens": 20}
    return {**plain, "text": f"{condition} says something about {prompt}", **changes}


def kinds(rows: list[dict[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    return [(found.kind, found.conditions) for found in implausible(rows, CONDITIONS, HEARD)]


def test_ordinary_rows_are_plausible() -> None:
    assert kinds([row(name, number) for name in CONDITIONS for number in range(9)]) == []


def test_answers_faster_than_a_model_are_not() -> None:
    rows = [row("base", number, latency=0.0001) for number in range(9)]
    assert kinds(rows) == [("speed", ())]
    assert kinds([*rows, *(row("full", number) for number in range(9))]) == [], "a few lucky ones prove nothing"
    assert kinds(rows[:4]) == [], "nothing is concluded from a few rows"


def test_conditions_that_the_canary_tells_apart_do_not_answer_alike() -> None:
    same = [row(name, number, text=f"the same {number}") for name in ("base", "full", "late") for number in range(9)]
    assert kinds(same) == [("sameness", ("base", "full")), ("sameness", ("full", "late"))], "base and late may be alike"
    short = [{**one, "completion_tokens": 3} for one in same]
    assert kinds(short) == [], "short texts are often equal"


def test_empty_answers_under_a_condition_that_spoke_to_the_canary() -> None:
    rows = [row(name, number) for name in ("base", "late") for number in range(9)]
    empty = [row("full", number, text="", completion_tokens=1) for number in range(9)]
    assert kinds([*rows, *empty]) == [("collapse", ("full",))]
    silent = {**HEARD, **readings(full="oh")}
    assert implausible([*rows, *empty], CONDITIONS, silent) == [], "the condition itself makes it fall silent"
