"""Claims and verdicts of a lab's experiments as texts cite them: `exp_001/c1`, `exp_001/H1`, with what they say."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightlab.errors import PlanError
from nightlab.evidence.withdrawn import read_withdrawn
from nightlab.files import read_yaml
from nightlab.lab import Lab


def short_name(experiment: str) -> str:
    """exp_001 of exp_001_phase1_replication."""
    return "_".join(experiment.split("_")[:2])


def claim_rows(lab: Lab, experiment: str) -> list[dict[str, Any]]:
    """The claims of an experiment as its claims.yaml holds them; none where it has none. Raises PlanError."""
    return read_claims(lab.experiment(experiment))


def read_claims(folder: Path) -> list[dict[str, Any]]:
    """The claims in an experiment's folder. Raises PlanError where its claims.yaml holds something else."""
    path = folder / "claims.yaml"
    content = (read_yaml(path, PlanError) or {}) if path.is_file() else {}
    rows = (content.get("claims") or []) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(map(_is_claim, rows)):
        hint = "an analysis writes it, not a person: nightlab report makes it again"
        raise PlanError("no list of claims", where=path, hint=hint)
    return rows


def _is_claim(row: object) -> bool:
    if not isinstance(row, dict) or not {"id", "sentence"} <= row.keys():
        return False
    against = row.get("against") or []
    return isinstance(against, list) and all(isinstance(other, dict) and "id" in other for other in against)


def claims_of(lab: Lab, experiment: str) -> list[tuple[str, str]]:
    """The claims of an experiment as they are cited, `exp_001/c1`, with the sentence and what contradicts it."""
    rows = claim_rows(lab, experiment)
    return [(f"{short_name(experiment)}/{row['id']}", f"{row['sentence']}{_against(row)}") for row in rows]


def _against(claim: Mapping[str, Any]) -> str:
    others = ", ".join(f"`{other['id']}`" for other in claim.get("against") or ())
    return f" Contradicts {others}." if others else ""


def withdrawn_of(lab: Lab, experiment: str) -> list[tuple[str, str]]:
    """The withdrawn claims of an experiment by the id they were cited by, struck through and with the reason."""
    short = short_name(experiment)
    return [
        (f"{short}/{old.id}", f"~~{old.sentence}~~ **Update** ({old.date}): {old.why}; it is {old.now} now.")
        for old in read_withdrawn(lab.experiment(experiment))
    ]


def verdicts_of(lab: Lab, experiment: str) -> list[tuple[str, str]]:
    """The verdicts on an experiment's hypotheses: `exp_001/H1` and what the data say."""
    path = lab.experiment(experiment) / "tables" / "verdicts.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    return [(f"{short_name(experiment)}/{row['id']}", f"{row['verdict']}: {row['text']}") for row in rows]
