"""Conclusions from a single case: a section that says n = 1 and then speaks in general."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nightlab.audit import prose
from nightlab.audit.data import Data
from nightlab.audit.finding import Finding, finding

_ONE = re.compile(
    r"(?i)\b(?:n\s*=\s*1\b(?!\s*of\s*1\b)(?!\d)|(?:for|on|from|of|with)\s+(?:the\s+)?(?:1|one|a single)\s+"
    r"(?:prompt|sample|answer|run|seed|example|response)\b|\"[\w ]+\"\s+prompt\b)"
)
_GENERAL = re.compile(
    r"(?i)\b(?:findings?\b|suggests?|shows? that|concentrated|encoded|encodes?|contributes?|don't|do not|never|always|"
    r"nothing|only|proves?|implies|means that|consistent|monotonic\w*|no effect)"
)


def anecdotes(data: Data) -> Iterator[Finding]:
    """Findings about sections that conclude from one case."""
    for path, text in data.texts.items():
        sections: dict[str, list[prose.Line]] = {}
        for line in prose.lines(text):
            sections.setdefault(line.headings[1] if len(line.headings) > 1 else line.heading, []).append(line)
        for own in sections.values():
            single = next((line for line in own if _ONE.search(line.text)), None)
            claims = [line for line in own if _GENERAL.search(line.text) and not line.header]
            if single is not None and claims:
                first = next((line for line in claims if line.number >= single.number), claims[0])
                what = f"a general conclusion in a section that rests on one case (line {single.number})"
                evidence = f"{single.text.strip()[:120]} | {first.text.strip()[:140]}"
                yield finding("anecdote", "warning", path, what, line=first.number, evidence=evidence, root=data.root)
