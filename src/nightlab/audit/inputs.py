"""What judges were shown, where it was kept: labels, model names and hypotheses do not belong there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nightlab.audit.data import MODEL, Data
from nightlab.audit.finding import Finding, finding

FIELDS = ("judge_prompt", "judge_input", "packet", "judge_request", "prompt_to_judge")
_FILES = re.compile(r"judge.*(?:input|prompt|packet|request|batch)|(?:input|packet|batch).*judge", re.I)
_TELLING = re.compile(
    r"(?i)\b(?:hypothes[ie]s|we expect|predict(?:ed|ion)|amplif\w+|(?:condition|config(?:uration)?|model)\s*[:=])"
)
_PLAIN = {"base", "full", "none", "control"}


def judge_inputs(data: Data) -> Iterator[Finding]:
    """Findings about judges that were told what they judge."""
    for path, line, text in _shown(data):
        labels = [level for level in _labels(data) if re.search(rf"(?<![\w-]){re.escape(level)}(?![\w-])", text, re.I)]
        told = _TELLING.search(text)
        if labels or told:
            shown = labels[0] if labels else told[0] if told else ""
            what = f"a judge could read {shown!r} in what it was shown"
            yield finding("judge-inputs", "error", path, what, line=line, root=data.root)


def _labels(data: Data) -> list[str]:
    names = [
        name for name in data.factors if name in MODEL or re.search(r"condition|config|variant|arm|treatment", name)
    ]
    return [
        level for name in names for level in data.factors[name] if level.casefold() not in _PLAIN and len(level) > 2
    ]


def _shown(data: Data) -> Iterator[tuple[Path, int, str]]:
    """Every text that a judge was shown: by the name of its field, or of its file."""
    for path, rows in data.files.items():
        named = bool(_FILES.search(path.stem))
        for row in rows:
            texts = [str(value) for name, value in row.values.items() if name.rsplit(".", 1)[-1] in FIELDS]
            if named and not texts:
                texts = [f"{name}: {value}" for name, value in row.values.items() if isinstance(value, str)]
            for text in texts:
                yield path, row.line, text
    for path, lines in data.texts.items():
        if _FILES.search(path.stem):
            yield from ((path, number, line) for number, line in enumerate(lines, 1))
