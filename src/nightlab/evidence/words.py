"""The words that claim more than numbers say, each with the claims that back it. A list, in English: what is not in it
passes.

Kinds are those of predictions. A claim of a supported hypothesis backs the words of its kind; one of a contradicted
hypothesis backs them where they are denied (`not greater`), and no word at all without a denial, but for a peak: that
it lies elsewhere is a peak, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOUNS = (
    r"(?:models?|prompts?|conditions?|answers?|samples?|layers?|ranges?|categor(?:y|ies)|dimensions?|adapters?|judges?|"
    r"replicates?|runs?|cases?)"
)

_ASKED = (
    "prompts?|questions?|cells?|seeds?|rubrics?|plans?|judges?|weights?|servers?|answers?|words?|folders?|ports?|time|"
    "way"
)
"""What is the same without a claim: how it was asked, not what came out."""


@dataclass(frozen=True)
class Strong:
    """Words of one meaning: why they need a claim, and which kinds of claims back them (none: nothing does)."""

    why: str
    words: re.Pattern[str]
    kinds: frozenset[str] = frozenset()


def _strong(why: str, words: str, *kinds: str) -> Strong:
    return Strong(why, re.compile(rf"(?i)(?<![\w-])(?:{words})(?![\w-])"), frozenset(kinds))


NO_EFFECT = _strong(
    "no claim says that there is no effect",
    r"(?:no|zero|without(?: any)?)(?: \w+)? (?:effects?|differences?|influence|impact|change|traces?|sign)|"
    r"(?:has|have|had|does|do|did) nothing|makes? no difference|(?:does|do|did)(?: not|n't) (?:matter|change|affect)|"
    rf"unaffected|unchanged|identical(?:ly)?|the same(?! (?:{_ASKED}))|indistinguishable|negligible|ineffective|inert|"
    r"irrelevant|vanish(?:es|ed)?|disappear(?:s|ed)?|cannot be told (?:apart|from)|flat|free of|devoid of|absent|"
    r"lack(?:s|ing)?|fades?|faded",
    "below",
    "diffuse",
    "same_peak",
)

STRONG = (
    _strong(
        "stronger than any evidence: say `supported`, and cite the claim",
        r"prove[sdn]?|proof|demonstrates?|demonstrated|establish(?:es|ed)|confirm(?:s|ed)?|significant(?:ly)?|clearly|"
        r"obvious(?:ly)?|evident(?:ly)?|undoubted(?:ly)?|(?:no|beyond|without)(?: an?y?)? doubt|undeniabl[ey]|"
        r"unquestionabl[ey]|unambiguous(?:ly)?|unmistakabl[ey]|conclusive(?:ly)?|certainly|definite(?:ly)?|"
        r"dramatic(?:ally)?|drastic(?:ally)?|striking(?:ly)?|remarkabl[ey]|overwhelming(?:ly)?|massive(?:ly)?|"
        r"enormous(?:ly)?|huge(?:ly)?|vast(?:ly)?|perfect(?:ly)?|guarantee[sd]?|indisputabl[ey]|beyond question",
    ),
    _strong(
        "no claim says that it is nowhere else",
        r"only|sole(?:ly)?|exclusive(?:ly)?|uniquely|nothing but|nowhere else|nothing else|no other|entirely|purely|"
        r"wholly|alone|none but",
    ),
    _strong(
        "no claim says how many: ask for the count",
        r"most(?= of\b)|mostly|mainly|primarily|largely|predominantly|chiefly|(?:a|the) (?:\w+ )?majority|"
        r"(?:nearly|almost|virtually|practically) (?:all|every|no|none)|rarely|seldom|hardly (?:any|ever)|"
        rf"(?:few|many|several|numerous) (?:of the )?{_NOUNS}|"
        r"usually|typically|in general|generally|tends? to",
    ),
    _strong(
        "no claim says that it is monotonic",
        r"monotonic(?:ally)?|steadily|gradual(?:ly)?|linear(?:ly)?|progressive(?:ly)?|smoothly|continuously|"
        r"proportional(?:ly)?|in proportion|layer by layer|step by step|dose[- ]dependent(?:ly)?",
        "trend",
    ),
    _strong(
        "no claim says which is the largest",
        r"highest|largest|strongest|greatest|biggest|best|most|peak(?:s|ed)?|maxim(?:um|al(?:ly)?)|topmost|foremost|"
        r"optimal|unmatched|unrivall?ed|concentrated|concentrates?|dominat\w+|locali[sz]ed|"
        r"at its (?:height|strongest)|tower(?:s|ed)? over|"
        r"(?:sits?|lives?|resides?|(?:is|are) (?:located|encoded|stored)) in|"
        r"(?:comes?|stems?|originates?|arises?) (?:\w+ )?from (?:the )?(?:\w+ )?(?:layers?|ranges?|adapters?)",
        "peak",
        "same_peak",
    ),
    _strong(
        "no claim says which is the smallest",
        r"lowest|smallest|weakest|worst|least|fewest|minim(?:um|al(?:ly)?)",
        "diffuse",
    ),
    NO_EFFECT,
    _strong(
        "no claim holds in every one of them",
        r"consistent(?:ly)?|always|never|invariabl[ey]|universal(?:ly)?|in (?:all|every|each|any)|across (?:all|every|"
        rf"the)?|everywhere|throughout|robust(?:ly)?|generali[sz]es?|(?:all|every|each|no|any|none of the)(?: \w+)?"
        rf" {_NOUNS}|whatever the|regardless|without exception|reliabl[ey]|reproducibl[ey]|replicat(?:es|ed)|"
        r"both (?:models|prompts|conditions)",
        "greater",
        "same_peak",
        "diffuse",
    ),
    _strong(
        "no claim compares them",
        r"(?:more|less|fewer) (?:\w+ ){0,2}than|higher|lower|larger|smaller|stronger|weaker|greater|better|worse|"
        r"bigger|exceeds?|exceeded|outperforms?|outweighs?|surpass(?:es|ed)|beats?|boosts?|amplifies|"
        r"(?:lies?|is|are|stays?|was|were|well|far) (?:above|below)|depends? on|caus(?:es|ed)|drives?|driven|"
        r"leads? to|responsible for|due to|because of|induces?|elicits?|triggers?|explains?",
        "greater",
        "below",
        "peak",
        "diffuse",
        "trend",
        "same_peak",
    ),
    _strong(
        "no claim says that it rises",
        r"increas(?:es?|ed|ing)|ris(?:es?|en|ing)|grow(?:s|n|ing)?|climb(?:s|ed)?",
        "greater",
        "trend increasing",
    ),
    _strong(
        "no claim says that it falls",
        r"decreas(?:es?|ed|ing)|fall(?:s|en|ing)?|declin(?:es?|ed|ing)|drop(?:s|ped)?|reduc(?:es?|ed)|suppress(?:es|ed)",
        "greater",
        "below",
        "trend decreasing",
    ),
)
