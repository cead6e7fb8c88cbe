"""The words of a text: numbers in words, words that claim more than a checked claim says, and names of nothing.

Looked at are sentences about results: those that name a model, a condition, a dimension, or speak of scores, layers and
the like, and those that refer to one before them in their paragraph. A word such as *highest*, *monotonic* or *no
effect* needs a claim beside it that says so: its id (`c1`) or `{{ claim("c1") }}`, not in a comment nor a branch that
the word is not in, or it stands in an `{% if verdict("H1") == "supported" %}` of such a hypothesis. A sentence that
cites a claim names nothing that the claim is not about. *Proves*, *only* and *mostly* are never backed. Limits: words
are known by a list (words.py), in English; which way a comparison goes is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightlab.errors import nearest
from nightlab.evidence.prose import Branch, Sentence, sentences
from nightlab.evidence.sandbox import ReportError
from nightlab.evidence.scope import Cited, Scope
from nightlab.evidence.words import NO_EFFECT, STRONG, Strong

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
_CITED = re.compile(r"(?<![\w/])(?:(exp_\d+\w*)/)?(c\d+)\b")
_CLAIM = re.compile(r"""\{\{[-+]?\s*claim\(\s*["']\w+["']\s*\)\s*[-+]?\}\}""")
_VERDICT = re.compile(r"""\s*verdict\(\s*["'](\w+)["']\s*\)\s*==\s*["'](supported|contradicted)["']\s*""")
_DECIDED = re.compile(r"\s*decided\([^()]*\)\s*")
_LEVEL = re.compile(r"""\blevel\(\s*["']([^"']+)["']\s*\)""")
_COMPUTED = {"agreement": "peak"}
_DENIED = re.compile(r"(?i)(?:\b(?:not|no|nor|neither|never|cannot)|n't)\b(?:\W+\w+){0,4}\W*$")
_OPEN = re.compile(r"(?i)\bwhether\b(?!.*[,;:])")  # what is asked and not said
_REFERS = re.compile(
    r"(?i)\b(?:it|its|they|their|them|this|that|these|those|here|others?|the rest|both|all|none|each|nothing|"
    r"every\w*)\b"
)
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
    about: set[int] = set()  # the paragraphs that have spoken of results so far
    for sentence in sentences(text, where):
        results = _about_results(sentence.prose, scope)
        refers = sentence.paragraph in about and bool(_REFERS.search(sentence.prose))
        about |= {sentence.paragraph} if results else set()
        found += [*_numbers(sentence), *_names(sentence, scope), *_elsewhere(sentence, scope)]
        found += _claims(sentence, scope, results or refers)
    return sorted(found, key=lambda said: said.line)


def _numbers(sentence: Sentence) -> Iterator[Said]:
    for found in _IN_WORDS.finditer(sentence.prose):
        yield Said(sentence.line_of(found.start()), found[0], "a number in words: ask for it with a query")


def _claims(sentence: Sentence, scope: Scope, about: bool) -> Iterator[Said]:
    """Strong words, each once, that neither a claim cited beside them nor a condition they stand under backs."""
    if _TOPIC.fullmatch(sentence.prose.strip()) or sentence.prose.rstrip().endswith("?"):
        return
    cited, computed = _cited(sentence, scope), _computed(sentence.source)
    for strong in STRONG:
        for found in _said(sentence.prose, strong, scope) if about else ():
            if _OPEN.search(sentence.prose[: found.start()]):
                continue
            branches = sentence.checks[found.start()]
            there = {kind for claim, shown in cited if {*shown} <= {*branches} for kind in claim.kinds}
            kinds = computed | there | _checked((condition for _, condition in branches), scope)
            denied = _DENIED.search(sentence.prose[: found.start()])
            if not kinds & ({f"not {kind}" for kind in strong.kinds} | strong.kinds if denied else strong.kinds):
                yield Said(sentence.line_of(found.start()), " ".join(found[0].split()), strong.why)
                break


def _said(prose: str, strong: Strong, scope: Scope) -> Iterator[re.Match[str]]:
    """The strong words of one meaning in a text; `no sarcasm` says that there is no effect, whatever is measured."""
    yield from strong.words.finditer(prose)
    if strong is NO_EFFECT:
        names = "|".join(re.escape(name) for name in sorted(scope.topics))
        yield from re.finditer(rf"(?i)\b(?:no|without|zero) (?:{names})(?!\w)", prose) if names else ()


def _cited(sentence: Sentence, scope: Scope) -> list[tuple[Cited, Sequence[Branch]]]:
    """The claims of this experiment that a sentence cites in its words or by `claim`, with the branches they stand in.

    What another experiment claims backs nothing here, nor does a name in another tag.
    """
    said = list(sentence.prose)
    for tag in _CLAIM.finditer(sentence.source):
        said[slice(*tag.span())] = tag[0]
    return [
        (scope.claims[found[2]], sentence.checks[found.start()])
        for found in _CITED.finditer(sentence.source)
        if found[2] in scope.claims and (not found[1] or scope.is_own(found[1])) and said[found.start()].strip()
    ]


def _computed(source: str) -> set[str]:
    """What queries in a sentence say themselves: one that counts where the largest means lie is about them."""
    return {kind for query, kind in _COMPUTED.items() if re.search(rf"\{{\{{-?\s*{query}\(", source)}


def _checked(conditions: Iterable[str], scope: Scope) -> set[str]:
    """What is known where a text is shown: conditions that need a verdict or a decided peak, joined by `and` alone."""
    kinds: set[str] = set()
    for condition in conditions:
        parts = [] if re.search(r"\b(?:or|not|else)\b", condition) else re.split(r"\band\b", condition)
        for part in parts:
            if found := _VERDICT.fullmatch(part):
                kinds |= scope.hypotheses.get(found[1], {}).get(found[2], frozenset())
            elif _DECIDED.fullmatch(part):
                kinds.add("peak")
    return kinds


def _about_results(prose: str, scope: Scope) -> bool:
    return bool(_RESULT.search(prose)) or any(_speaks_of(prose, name) for name in scope.topics)


def _speaks_of(text: str, name: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", text.casefold()))


def _elsewhere(sentence: Sentence, scope: Scope) -> Iterator[Said]:
    """Names of models, dimensions, conditions and prompts that the claims cited beside them are not about."""
    cited = [claim for claim, _ in _cited(sentence, scope)]
    if not cited or any(claim.about is None for claim in cited):
        return
    about = {name for claim in cited for name in claim.about or ()}
    said = sentence.prose + " ".join(_LEVEL.findall(sentence.source))
    for name in sorted(scope.subjects - about):
        plain = name.isalpha() and name in scope.plain  # `base`, `creative`: words of the language
        if f"`{name}`" in said if plain else _speaks_of(said, name):
            why = f"the claim cited beside it is about {_listed(about, scope)}, not about it"
            yield Said(_line(sentence, name), name, why)


def _listed(about: set[str], scope: Scope) -> str:
    return ", ".join(sorted(name for name in about if name not in scope.prompts)) or "other prompts"


def _names(sentence: Sentence, scope: Scope) -> Iterator[Said]:
    """Names of hypotheses, claims, figures, ranges and prompts that do not exist."""
    known = {
        r"H\d+": ("hypothesis", frozenset(scope.hypotheses)),
        r"c\d+": ("claim", frozenset(scope.claims)),
        r"fig\d+_\w+": ("figure", scope.figures),
        r"layers_\d+_\d+": ("condition", scope.conditions),
    }
    for form, (what, names) in known.items():
        for name in re.findall(rf"(?<![\w/.-]){form}\b(?!\.\w)", sentence.prose):
            if name not in names:
                yield Said(_line(sentence, name), name, f"there is no such {what}{_did_you_mean(name, names)}")
    for span in _SPAN.findall(sentence.prose):
        if span.split("-")[0] in scope.categories and "-" in span and span not in scope.prompts:
            yield Said(_line(sentence, span), span, f"there is no such prompt{_did_you_mean(span, scope.prompts)}")


def _line(sentence: Sentence, name: str) -> int:
    return sentence.line_of(max(0, sentence.prose.casefold().find(name.casefold())))


def _did_you_mean(name: str, names: frozenset[str]) -> str:
    close = nearest(name, sorted(names))
    return f"; did you mean {close}?" if close else ""
