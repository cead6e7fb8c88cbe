"""What keys and passwords look like, and texts without them: for events, tool results and situations.

Two ways: the published shapes of well-known keys, and the values of the environment variables whose names say that they
are secret. Limits: a secret of neither sort passes, and so does one that is encoded, split or turned around.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, TypeVar

SHAPES = {
    "an Anthropic API key": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "an OpenAI API key": r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a Slack token": r"\bxox[abeprs]-[A-Za-z0-9-]{20,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
}
SHAPE = re.compile("|".join(f"({shape})" for shape in SHAPES.values()), re.ASCII)
SECRET_FILE = re.compile(r"\.env(?:\.(?!example$|sample$|template$).+)?|\.netrc|\.pgpass|id_(?:rsa|dsa|ecdsa|ed25519)")
SHORTEST = 8  # characters of a variable's value; below 12 it must have something that no word has
_WORD = re.compile(r"[A-Za-z]{0,11}")
_VARIABLE = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$|^ANTHROPIC_CUSTOM_HEADERS$")
_BODY = r"(?:[^-]|-(?!----))*(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?"  # what follows the first line of a key
_CUT = re.compile("|".join(f"({s}{_BODY if 'PRIVATE' in s else ''})" for s in SHAPES.values()), re.ASCII)
# One of these stands in every text that a shape fits: looking for them is far cheaper than for the shapes.
_SIGNS = (
    "PRIVATE KEY",
    "sk-", "hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_", "glpat-", "AKIA", "ASIA", "AIza", "xox"
)  # fmt: skip
_KINDS = tuple(SHAPES)

Json = TypeVar("Json")


def is_secret_name(variable: str) -> bool:
    """Whether the name of an environment variable says that its value is secret."""
    return _VARIABLE.search(variable.upper()) is not None


def secret_values(environment: Mapping[str, str]) -> dict[str, str]:
    """The values of the secret variables, with their names; paths and short words are no secrets."""
    return {
        value: name
        for name, value in environment.items()
        if len(value) >= SHORTEST and not value.startswith("/") and is_secret_name(name) and not _WORD.fullmatch(value)
    }


class Redactor:
    """Takes secrets out of texts; knows the environment as it was when it was made."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        values = secret_values(os.environ if environment is None else environment)
        escaped = {json.dumps(value, ensure_ascii=False)[1:-1]: name for value, name in values.items()}
        longest_first = sorted((values | escaped).items(), key=lambda item: -len(item[0]))
        self._values = {value: f"[redacted: the value of ${name}]" for value, name in longest_first}

    def text(self, text: str) -> str:
        """The text with every secret replaced by what it looked like."""
        for value, said in self._values.items():
            if value in text:
                text = text.replace(value, said)
        if any(sign in text for sign in _SIGNS):
            text = _CUT.sub(_named, text)
        return text

    def data(self, value: Json) -> Json:
        """A value of JSON with every text in it redacted; the same object where there is nothing to redact."""
        return self._data(value)  # type: ignore[no-any-return]

    def _data(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value) if len(value) >= SHORTEST else value
        if isinstance(value, Mapping):
            return {key: self._data(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._data(inner) for inner in value]
        return value


def _named(found: re.Match[str]) -> str:
    return f"[redacted: {_KINDS[(found.lastindex or 1) - 1]}]"
