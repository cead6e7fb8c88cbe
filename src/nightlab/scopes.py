"""Write scopes: which paths an agent's globs cover, what one agent can pass on to another, and what only code writes.

A path is relative to the lab's root, with links and `..` resolved by the caller. Limits: a hard link to a protected
file is not seen here; nightlab's own writers replace files and never write through a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

EXPERIMENT = "{experiment}"  # in a glob: the experiment that a sub-agent was given

# Evidence and record: written by code alone, whatever an agent's file says.
_CODE = (
    ".nightlab/**",
    "state/nights/**",
    "state/servers/**",
    "state/learned.yaml",
    "adapters/**",
    "experiments/*/samples.jsonl",
    "experiments/*/failures.jsonl",
    "experiments/*/judgments.jsonl",
    "experiments/*/marks.jsonl",
    "experiments/*/looks.jsonl",
    "experiments/*/withdrawn.jsonl",
    "experiments/*/power.json",
    "experiments/*/judge_log.jsonl",
    "experiments/*/plan.lock.json",
    "experiments/*/claims.yaml",
    "experiments/*/evidence.json",
    "experiments/*/report.md",
    "experiments/*/tables/**",
    "experiments/*/runs/**",
)
# What agents are: changed by people, who accept a proposal.
_PEOPLE = (
    "agents/**",
    "tools/**",
    "skills/**",
    "state/failures/**",
    "pyproject.toml",
    ".gitignore",
    ".gitattributes",
    ".gitmodules",
)
# The parts of a plan, which stand once it is frozen.
_PLAN = re.compile(r"(experiments/[^/]+)/(config\.yaml|rubric\.md|gold\.yaml|(?:prompts|conditions)/.+)", re.DOTALL)
_LOCK = "plan.lock.json"


def covers(globs: Iterable[str], inner: str) -> bool:
    """Whether one of the globs matches a path: `**` crosses folders, `*` and `?` do not."""
    return any(_pattern(glob).fullmatch(inner) for glob in globs)


def protected(root: Path, inner: str) -> str | None:
    """Why no agent may write this path, or None."""
    lowered = inner.lower()  # some file systems do not tell capitals apart
    if ".git" in lowered.split("/"):
        return "git's own files are written by git alone"
    if covers(_CODE, lowered):
        return "it is evidence or record, and written by code alone"
    if covers(_PEOPLE, lowered):
        return "people change it: propose it instead"
    plan = _PLAN.fullmatch(inner)
    if plan and (root / plan[1] / _LOCK).exists():
        return "the plan is frozen"
    return None


def passed_on(wanted: Iterable[str], giver: Iterable[str]) -> tuple[str, ...]:
    """The wanted globs that lie wholly inside what the giver may write; one that cannot be shown to is left out."""
    outer = tuple(giver)
    return tuple(glob for glob in wanted if any(_within(glob, one) for one in outer))


def filled(globs: Iterable[str], experiment: str | None) -> tuple[str, ...]:
    """The globs with the experiment's name in its place; without a name those that need one are left out."""
    return tuple(
        glob.replace(EXPERIMENT, experiment or "") for glob in globs if EXPERIMENT not in glob or experiment is not None
    )


def _within(inner: str, outer: str) -> bool:
    if inner == outer or outer == "**":
        return True
    if outer.endswith("/**"):
        return _literal(outer[:-3]) and inner.startswith(outer[:-2])
    return _literal(inner) and covers([outer], inner)


def _literal(glob: str) -> bool:
    return "*" not in glob and "?" not in glob


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(pieces.get(part, re.escape(part)) for part in parts), re.DOTALL)
