"""Blindness, checked on what is sent: nothing that a judge gets may tell it which treatment an answer had.

Names of models, adapters, conditions, prompts and the experiment, the hypotheses and their telling words, and the lab's
paths are searched for, in any case and as plurals; names of models, adapters and conditions also with other signs
between their parts (`layers_0_20`, "Layers 0-20"), and families of models by themselves (`qwen` of Qwen2.5-7B). In a
packet's id one of them is an error; in the instructions, too, unless people write it by chance (`one`, "off-topic",
"top 5"), which is reported. In a sample's own text it is reported, and struck out where the plan says `mask`. Limits: a
text that gives its treatment away in other words, or in letters that only look alike, stays as it is; a name of letters
alone (`sarcasm_full`) is not seen with a space in it, as people write those words.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nightlab.errors import NightlabError
from nightlab.experiments.plan import BASE, Plan
from nightlab.judging.packet import Packet, Sealed

STRUCK = "[…]"
Part = Literal["instructions", "envelope", "question", "answer"]

_STUDY = ("adapter", "adapters", "lora", "loras", "layer", "layers", "fine-tuned", "finetuned", "steered", "amplified")
_WORD = re.compile(r"[\w./-]*\w")
_PARTS = re.compile(r"[^\W\d_]+|\d+")
_NUMBERED = re.compile(r"[^\W\d_]+[ -]?\d+")
_FAMILIES = (
    *("llama", "qwen", "gemma", "mistral", "mixtral", "deepseek", "olmo", "pythia", "smollm", "falcon", "phi"),
    *("gpt", "claude", "gemini"),
)


class BlindnessError(NightlabError):
    """A judge would be told what it must not know."""


@dataclass(frozen=True)
class Leak:
    """A word that a judge should not see, and the part of a packet it stands in."""

    packet: str
    part: Part
    word: str


def forbidden_words(plan: Plan) -> list[str]:
    """What no judge may see of a plan: names of models, adapters, conditions and prompts, hypotheses, paths.

    A space in a word stands for any signs.
    """
    words = [name for m in plan.models for name in (m.name, m.id, m.id.rsplit("/", 1)[-1], m.path) if name]
    words += [adapter for m in plan.models for adapter in (*m.adapters, *m.adapters.values())]
    words += [condition.name for condition in plan.conditions if condition.name != BASE]
    words += [plan.name]
    words += [other for word in words for other in _otherwise(word)]
    words += [family for m in plan.models for family in _families(f"{m.name} {m.id}")]
    words += [text for h in plan.hypotheses for text in (h.id, h.statement, *telling(h.statement))]
    words += [prompt.name for prompt in plan.prompts]
    paths = [str(plan.folder), str(plan.root)]
    paths += [f"~/{Path(path).relative_to(home)}" for path in paths if Path(path).is_relative_to(home := Path.home())]
    return list(dict.fromkeys([*words, *paths]))


def _otherwise(name: str) -> list[str]:
    """A name with other signs between its parts."""
    parts = _parts(name)
    if len(parts) < 2:
        return []
    return [" ".join(parts)] if any(part.isdigit() for part in parts) else ["_".join(parts), "-".join(parts)]


def _families(name: str) -> list[str]:
    parts = [part.lower() for part in _parts(name)]
    return [family for family in _FAMILIES if family in parts]


def telling(statement: str) -> Iterator[str]:
    """The words of a hypothesis that could only come from the study: names, code-like words, words of the trade."""
    for number, word in enumerate(_WORD.findall(statement)):
        named = number > 0 and word[0].isupper() and len(word) > 1
        if named or "_" in word or word.lower() in _STUDY:
            yield word


def leaks(payload: bytes, words: Iterable[str]) -> list[str]:
    """Those of the words that occur in the bytes; one that occurs as it is written is not told in other spellings."""
    text = payload.decode("utf-8")
    found = [word for word in words if word and _any_of((word,)).search(text)]
    written = {_letters(word) for word in found if " " not in word}
    return [word for word in found if " " not in word or _letters(word) not in written]


def _letters(word: str) -> str:
    return "".join(part.lower() for part in _parts(word))


def _parts(word: str) -> list[str]:
    """The runs of letters and of digits in a word."""
    return [found.group() for found in _PARTS.finditer(word)]


def check_instructions(instructions: bytes, words: Sequence[str], where: str) -> list[Leak]:
    """The forbidden words in the constant part of a request that may be there by chance: `one`, `off-topic`, `top 5`.

    Raises BlindnessError for one that cannot: a hypothesis in words, a path, a name like `layers_0_20`, `org/model-8b`.
    """
    found = leaks(instructions, words)
    telling_ones = [word for word in found if not _by_chance(word, words)]
    if telling_ones:
        hint = "take it out of the rubric, or of agents/judge.md: scores by a judge that knows it prove nothing"
        raise BlindnessError(f"the judge's instructions hold {telling_ones[0]!r}", where=where, hint=hint)
    return [Leak("instructions", "instructions", word) for word in found]


def _by_chance(word: str, words: Sequence[str]) -> bool:
    """Whether people write such a word: one of letters, one with a number, another spelling of a name of letters."""
    return word.isalpha() or bool(_NUMBERED.fullmatch(word)) or _plain_compound(word, words)


def _plain_compound(word: str, words: Sequence[str]) -> bool:
    """Whether a word is only another spelling of a name of letters: people write `off-topic` where a plan has a `_`."""
    given = next(one for one in words if _letters(one) == _letters(word))
    return given != word and word.replace("-", "").isalpha()


def check_blind(sealed: Sequence[Sealed], words: Sequence[str]) -> list[Leak]:
    """The forbidden words in the packets' own texts, to be reported. Raises BlindnessError for one in a packet's id."""
    any_word = _any_of(tuple(words))
    found: list[Leak] = []
    for packet in (one.packet for one in sealed):
        if any_word.search("\n".join((packet.id, packet.question, packet.prefix, packet.text))):
            found += _leaks_of(packet, words)
    outside = [leak for leak in found if leak.part == "envelope"]
    if outside:
        first = outside[0]
        raise BlindnessError(
            f"{len(outside)} packets show {first.word!r} outside of their texts", where=f"packet {first.packet}"
        )
    return found


def mask(packet: Packet, words: Sequence[str]) -> Packet:
    """The packet with every forbidden word in its texts struck out."""
    any_word = _any_of(tuple(words))
    struck = {name: any_word.sub(STRUCK, getattr(packet, name)) for name in ("question", "text", "prefix")}
    return replace(packet, **struck)


def _spelled(word: str) -> str:
    """How a word may be written, as a regular expression."""
    parts = _parts(word)
    plural = r"(?:['’]?s)?" if len(word) > 2 and word[-1].isalnum() else ""
    if " " in word and parts:
        joints = (r"[\W_]{0,6}" if a.isdigit() != b.isdigit() else r"[\W_]{1,6}" for a, b in itertools.pairwise(parts))
        return parts[0] + "".join(joint + part for joint, part in zip(joints, parts[1:], strict=True)) + plural
    return re.escape(word) + (rf"(?:{plural}|\d+)" if plural and word.isalpha() else plural)


@functools.lru_cache(maxsize=65_536)  # a word each: a plan may have thousands, and every packet is searched for all
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, with no letter or digit before or after it."""
    longest_first = sorted((word for word in words if word), key=len, reverse=True)
    choices = "|".join(map(_spelled, longest_first)) or r"\A(?!)"
    return re.compile(rf"(?<![^\W_])(?:{choices})(?![^\W_])", re.IGNORECASE)


def _leaks_of(packet: Packet, words: Sequence[str]) -> list[Leak]:
    parts: list[tuple[Part, str]] = [
        ("envelope", packet.id),
        ("question", f"{packet.question}\n{packet.prefix}"),
        ("answer", packet.text),
    ]
    return [Leak(packet.id, part, word) for part, content in parts for word in leaks(content.encode(), words)]
