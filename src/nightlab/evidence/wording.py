"""The words of a text: numbers in words, words that claim more than a checked claim says, and names of nothing.

Looked at are sentences about results: those that name a model, a condition, a dimension, or speak of scores, layers and
the like. A word such as *highest*, *monotonic* or *no effect* needs a claim beside it that says so: its id (`c1`), or
`{{ claim("c1") }}`, or it stands in an `{% if verdict("H1") == "supported" %}`. *Proves* and *significantly* are
never backed. Limits: words are known by a list, in English; whether the claim is about the same models is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightlab.errors import nearest
from nightlab.evidence.prose import Sentence, sentences
from nightlab.evidence.sandbox import ReportError
from nightlab.evidence.scope import Scope

_WHOLE = "zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
_TENS = "(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\\w+)?|hundred|thousand|a dozen"
_UNITS = (
    "percent|per cent|points?|times|fold|prompts?|models?|conditions?|answers?|samples?|cells?|judgments?|replicates?|"
    "layers?|ranges?|categor(?:y|ies)|resamples?|tokens?|servers?|hypothes[ie]s|claims?"
)
_NUMBER = rf"(?:{_WHOLE}|{_TENS})"
_IN_WORDS = re.compile(
    rf"(?i)\b(?:one (?:out )?of (?:the )?{_NUMBER}\b"
    rf"|{_NUMBER}[ -](?:out )?of (?:the )?(?:{_NUMBER}|{_UNITS}|them|these)\b"
    rf"|{_NUMBER}[ -](?:\w+[ -])?(?:{_UNITS})\b"
    rf"|(?:twice|thrice|half|double|triple) (?:as|of|the|that)\b|(?:a|one|two) (?:third|quarter|fifth|tenth)s? of\b"
    rf"|(?:doubl|tripl|halv|quadrupl)(?:es|ed)\b|\w+fold\b|(?:mean|score|n) (?:of|is|was|=) {_NUMBER}\b)"
)
_RESULT = re.compile(
    r"(?i)\b(?:layers?|effects?|scores?|means?|peaks?|patterns?|differences?|findings?|results?|ranges?|dimensions?|"
    r"adapters?)\b"
)
_CLASSES: tuple[tuple[str, str, frozenset[str]], ...] = (
    (
        "stronger than any evidence: say `supported`, and cite the claim",
        r"prove[sdn]?|proof|demonstrates?|demonstrated|establish(?:es|ed)|significant(?:ly)?|clearly|obviously|"
        r"undoubtedly|certainly|definitely|dramatic(?:ally)?",
        frozenset(),
    ),
    (
        "no claim says that it is nowhere else",
        r"only|solely|exclusively|uniquely|nothing but|nowhere else",
        frozenset(),
    ),
    (
        "no claim says that it is monotonic",
        r"monotonic(?:ally)?|steadily|gradually|linearly",
        frozenset({"trend", "monotonic"}),
    ),
    (
        "no claim says which is the largest or the smallest",
        r"highest|lowest|largest|smallest|strongest|weakest|greatest|best|worst|most|least|peak(?:s|ed)?|maxim(?:um|"
        r"al)|minim(?:um|al)|concentrated|dominat\w+",
        frozenset({"peak", "same_peak", "diffuse"}),
    ),
    (
        "no claim says that there is no effect",
        r"no (?:effect|difference|influence|impact|change)|(?:has|have|had|does|do|did) nothing|unaffected|"
        r"unchanged|identical|the same|indistinguishable|negligible",
        frozenset({"below", "diffuse", "same_peak"}),
    ),
    (
        "no claim holds in every one of them",
        r"consistent(?:ly)?|always|never|invariabl[ey]|universal(?:ly)?|in (?:all|every|each)|across (?:all|every|"
        r"the)?|everywhere|throughout|robust(?:ly)?|generali[sz]es?",
        frozenset({"greater", "same_peak", "diffuse"}),
    ),
    (
        "no claim compares them",
        r"(?:more|less) (?:\w+ )?than|higher|lower|larger|smaller|stronger|weaker|greater|better|worse|exceeds?|"
        r"exceeded|outperforms?|increas(?:es|ed|ing)|decreas(?:es|ed|ing)|ris(?:es|en|ing)|reduc(?:es|ed)|boosts?|"
        r"amplifies|suppress(?:es|ed)|depends? on|caus(?:es|ed)|drives?|driven",
        frozenset({"greater", "below", "peak", "diffuse", "trend", "same_peak"}),
    ),
)
_WORDS = tuple((why, re.compile(rf"(?i)(?<![\w-])(?:{words})(?![\w-])"), kinds) for why, words, kinds in _CLASSES)
_CITED = re.compile(r"(?<![\w/])(?:exp_\d+\w*/)?(c\d+)\b")
_TOPIC = re.compile(r"#+\s+\S+(?:\s\S+){0,2}")  # a heading of up to three words says what comes, not what was found
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Said:
    """A word, name or number in words that nothing backs: its line, itself, and why."""

    line: int
    text: str
    why: str


def check_words(text: str, where: Path | str, scope: Scope) -> None:
    """Refuse a template whose words nothing backs. Raises ReportError naming the first one's file and line."""
    found = find_unbacked(text, where, scope)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        hint = 'cite a claim that says so (c1, or {{ claim("c1") }}), or say it without that word'
        raise ReportError(f"`{found[0].text}`: {found[0].why}{more}", where=f"{where}:{found[0].line}", hint=hint)


def find_unbacked(text: str, where: Path | str, scope: Scope) -> list[Said]:
    """Every word, name and number in words that nothing backs, by line. Raises ReportError for malformed templates."""
    found: list[Said] = []
    for sentence in sentences(text, where):
        found += [*_numbers(sentence), *_names(sentence, scope), *_claims(sentence, scope)]
    return sorted(found, key=lambda said: said.line)


def _numbers(sentence: Sentence) -> Iterator[Said]:
    for found in _IN_WORDS.finditer(sentence.prose):
        yield Said(sentence.line, found[0], "a number in words: ask for it with a query")


def _claims(sentence: Sentence, scope: Scope) -> Iterator[Said]:
    if not _about_results(sentence.prose, scope) or _TOPIC.fullmatch(sentence.prose.strip()):
        return
    cited = [scope.claims[name] for name in _CITED.findall(sentence.source) if name in scope.claims]
    for why, words, kinds in _WORDS:
        proof = words is _WORDS[0][1]
        backed = sentence.checked or any(kind in kinds for kind in cited)
        if (found := words.search(sentence.prose)) and (proof or not backed):
            yield Said(sentence.line, found[0], why)


def _about_results(prose: str, scope: Scope) -> bool:
    plain = prose.casefold()
    named = any(re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", plain) for name in scope.topics)
    return named or bool(_RESULT.search(prose))


def _names(sentence: Sentence, scope: Scope) -> Iterator[Said]:
    """Names of hypotheses, claims, figures, ranges and prompts that do not exist."""
    known = {
        r"H\d+": ("hypothesis", scope.hypotheses),
        r"c\d+": ("claim", frozenset(scope.claims)),
        r"fig\d+_\w+": ("figure", scope.figures),
        r"layers_\d+_\d+": ("condition", scope.conditions),
    }
    for form, (what, names) in known.items():
        for name in re.findall(rf"(?<![\w/.-]){form}\b(?!\.\w)", sentence.prose):
            if name not in names:
                yield Said(sentence.line, name, f"there is no such {what}{_did_you_mean(name, names)}")
    for span in _SPAN.findall(sentence.prose):
        if span.split("-")[0] in scope.categories and "-" in span and span not in scope.prompts:
            yield Said(sentence.line, span, f"there is no such prompt{_did_you_mean(span, scope.prompts)}")


def _did_you_mean(name: str, names: frozenset[str]) -> str:
    close = nearest(name, sorted(names))
    return f"; did you mean {close}?" if close else ""
