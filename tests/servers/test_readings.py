"""When two greedy answers are one answer: the same words, or one tie that rounding decided; never another treatment."""

from __future__ import annotations

import math

from nightlab.servers.canary_checks import MOST, SAME, Rounding, alike, still
from nightlab.servers.readings import Reading, difference

HALF = math.log(0.5)


def reading(words: str, *logprobs: float) -> Reading:
    tokens = tuple(words.split())
    return Reading(text=words, tokens=tokens, logprobs=logprobs or (-0.05,) * len(tokens))


BASE = [reading("a good day"), reading("some coffee"), reading("it was fine")]


def same(other: list[Reading]) -> bool:
    return difference(BASE, other, SAME).same(SAME)


def test_rounding_is_no_difference_and_a_shift_is() -> None:
    near = [reading(one.text, *(value + 0.01 for value in one.logprobs)) for one in BASE]
    far = [reading(one.text, *(value - 0.3 for value in one.logprobs)) for one in BASE]
    assert same(BASE)
    assert same(near)
    assert not same(far), "the same words with other probabilities are another model"
    assert difference(BASE, far).mean > 0.2


def test_one_tie_may_be_decided_otherwise_and_no_sure_word_may() -> None:
    tied = [reading("a good day", -0.05, HALF, -0.1), *BASE[1:]]
    turned = [reading("a fine day", -0.05, HALF - 0.01, -0.9), *BASE[1:]]
    assert difference(tied, turned, SAME).same(SAME), "two words of half the probability each"
    sure = [reading("a fine day", -0.05, -0.05, -0.05), *BASE[1:]]
    assert not same(sure), "both are sure of their word: these are two treatments, however alike their numbers"
    twice = [turned[0], reading("cold coffee", HALF, -0.05), BASE[2]]
    other = [tied[0], reading("some coffee", HALF, -0.05), BASE[2]]
    assert not difference(other, twice, SAME).same(SAME), "two ties at once are no accident"


def test_a_shorter_answer_is_another_one() -> None:
    assert not same([reading("a good"), *BASE[1:]])


def test_both_ends_are_compared_by_name() -> None:
    assert still({}, {"m": BASE}, Rounding()) == []
    (fine,) = still({"m": BASE}, {"m": BASE, "new": BASE}, Rounding())
    assert fine.passed
    moved = [reading("no day at all"), *BASE[1:]]
    (drifted,) = still({"m": BASE, "n": BASE}, {"m": moved}, Rounding())
    assert (drifted.passed, drifted.failure) == (False, "answers_drifted")
    assert list(drifted.evidence["moved"]) == ["m"]
    assert drifted.evidence["gone"] == ["n"]


def test_a_scaled_adapter_that_is_not_the_plain_one_fails() -> None:
    other = [reading("oh wonderful"), *BASE[1:]]
    found = alike("one_equals_plain", "plain_differs", "full", (BASE, other), Rounding())
    assert (found.passed, found.failure, found.evidence["texts_differ"]) == (False, "plain_differs", 1)


def shifted(by: float) -> list[Reading]:
    return [reading(one.text, *(value - by for value in one.logprobs)) for one in BASE]


def test_a_server_in_16_bits_may_vary_as_much_as_its_plain_answers_do_and_no_more() -> None:
    exact, coarse = Rounding.of(BASE, [BASE, BASE]), Rounding.of(BASE, [BASE, shifted(0.03)])
    near, far = shifted(0.05), shifted(0.09)
    assert exact.tolerance == SAME
    assert not exact.between(BASE, near)[0]
    assert coarse.between(BASE, near)[0], "batching alone moves this server's answers by half of that"
    assert not coarse.between(BASE, far)[0]
    wild = Rounding.of(BASE, [shifted(0.5)])
    assert wild.tolerance == MOST, "a server whose plain answers are not stable gets no room for a treatment"
    assert not wild.between(BASE, far)[0]


def test_as_many_ties_as_among_plain_answers_may_be_decided_otherwise() -> None:
    tied = [reading("a day", HALF, -0.05), reading("some coffee", HALF, -0.05), BASE[2]]
    turned = [reading("one day", HALF, -0.05), reading("cold coffee", HALF, -0.05), BASE[2]]
    assert not Rounding.of(tied, [tied]).between(tied, turned)[0]
    assert Rounding.of(tied, [tied, turned]).between(tied, turned)[0]
    sure = [reading("one day", -0.05, -0.05), *turned[1:]]
    assert not Rounding.of(tied, [tied, turned]).between(tied, sure)[0], "a sure word is no tie"
