"""Skills: how we work. One folder each with a SKILL.md in the Agent Skills format (agentskills.io).

An agent's system prompt carries the index (name and description); the body is read with a tool when the task needs it.
The front matter has exactly the format's six keys, so a skill works unchanged in other harnesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightlab import front_matter
from nightlab.errors import SpecError
from nightlab.lab import Found, Lab, look_up, look_up_all

KEYS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Skill:
    """One skill; `body` is what a model reads when it needs it."""

    name: str
    description: str
    body: str
    license: str = ""
    compatibility: str = ""
    allowed_tools: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    found: Found | None = None

    @classmethod
    def load(cls, lab: Lab, name: str) -> Skill:
        """The skill `skills/<name>/SKILL.md` of the lab, else the shipped one. Raises UsageError, SpecError."""
        return read(look_up(lab, "skills", f"{name}/SKILL.md"))


def read(found: Found) -> Skill:
    """A SKILL.md by itself. Raises SpecError."""
    path = found.path
    fields, body = front_matter.split(path)
    front_matter.check_keys(fields, KEYS, ("name", "description"), path)
    if not body:
        raise SpecError("no text after the front matter", where=path)
    return Skill(
        name=_name(fields, path),
        description=front_matter.text_of(fields, "description", path, 1024),
        body=body,
        license=front_matter.text_of(fields, "license", path, 500),
        compatibility=front_matter.text_of(fields, "compatibility", path, 500),
        allowed_tools=front_matter.text_of(fields, "allowed-tools", path, 1024),
        metadata=_metadata(fields, path),
        found=found,
    )


def index(lab: Lab, names: Iterable[str]) -> str:
    """The lines of a system prompt that tell which skills exist; "" for none."""
    lines = [f"- {skill.name}: {skill.description}" for skill in _load(lab, names)]
    return "\n".join(["Skills; read one with read_skill when its task comes up:", *lines]) if lines else ""


def describe(lab: Lab) -> list[dict[str, Any]]:
    """Every skill with its layer, hash and, where its file cannot be used, the reason."""
    rows = []
    for key, found in look_up_all(lab, "skills", "*/SKILL.md").items():
        row: dict[str, Any] = {"kind": "skill", "name": key.split("/")[0], "path": str(found.path)}
        row |= {"origin": found.origin, "sha256": found.sha256}
        try:
            rows.append(row | {"summary": read(found).description, "problem": None})
        except SpecError as error:
            rows.append(row | {"summary": "", "problem": str(error)})
    return rows


def _load(lab: Lab, names: Iterable[str]) -> list[Skill]:
    return [Skill.load(lab, name) for name in names]


def _name(fields: dict[str, Any], path: Path) -> str:
    name = front_matter.text_of(fields, "name", path, 64)
    if not NAME.fullmatch(name):
        hint = "lowercase letters, digits and single hyphens"
        raise SpecError(f"{name!r} cannot be a skill's name", where=path, hint=hint)
    if name != path.parent.name:
        raise SpecError(f"the name {name!r} is not the folder's", where=path, hint=f"name: {path.parent.name}")
    return name


def _metadata(fields: dict[str, Any], path: Path) -> dict[str, str]:
    metadata = fields.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise SpecError("metadata is no mapping of texts", where=path, hint="a line , then lines such as ")
    return {str(key): value for key, value in metadata.items()}
