"""Files, figures and prompts that texts name and that are not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nightlab.audit import prose
from nightlab.audit.data import Data
from nightlab.audit.finding import Finding, finding
from nightlab.errors import nearest

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_CODE = re.compile(r"`([^`\s]+\.(?:png|pdf|svg|csv|jsonl?|ya?ml|py|ipynb|md))(?::\d+(?:-\d+)?)?`")
_FOLDER = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/)`")
_PROMPT = re.compile(r"(?i)\bprompts?\s+[`\"“]([\w-]+)[`\"”]|[`\"“]([\w-]+)[`\"”]\s+prompt\b")


def absent(data: Data) -> Iterator[Finding]:
    """Findings about names of nothing."""
    there = {path.name for path in data.root.rglob("*")}
    prompts = data.factors.get("prompt", ()) or data.factors.get("prompt_name", ()) or data.factors.get("prompt_id", ())
    for path, text in data.texts.items():
        for line in prose.lines(text):
            named = [*_LINK.findall(line.text), *_CODE.findall(line.text), *_FOLDER.findall(line.text)]
            for name in dict.fromkeys(named):
                if not _exists(name, path, data.root, there):
                    yield finding(
                        "absent", "error", path, f"{name} is named and not there", line=line.number, root=data.root
                    )
            for pair in _PROMPT.findall(line.text):
                name = pair[0] or pair[1]
                if prompts and "-" in name and name not in prompts:
                    close = nearest(name, prompts)
                    hint = f"the nearest is {close}" if close else f"{len(prompts)} prompts are known"
                    yield finding(
                        "absent",
                        "error",
                        path,
                        f"no row is of a prompt {name}",
                        line=line.number,
                        evidence=hint,
                        root=data.root,
                    )


def _exists(name: str, text: Path, root: Path, there: set[str]) -> bool:
    if re.match(r"[a-z]+:|#|//|/|~", name):
        return True  # elsewhere: not for this audit to say
    plain = name.split("#")[0].rstrip("/")
    return (text.parent / plain).exists() or (root / plain).exists() or ("/" not in plain and plain in there)
