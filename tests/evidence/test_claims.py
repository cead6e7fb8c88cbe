"""Claims follow from decided hypotheses and proven treatments only, and every number in them is a query."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from nightlab.evidence.claims import Claim, make_claims, withheld, write_claims
from nightlab.evidence.family import evaluate_all
from nightlab.evidence.queries import Queries
from nightlab.evidence.table import Table

from .conftest import Make

Servers = list[dict[str, Any]]


def claimed(folder: Path, servers: Servers | None) -> tuple[tuple[Claim, ...], list[str]]:
    table = Table.from_experiment(folder, servers=servers)
    verdicts = evaluate_all(table)
    return make_claims(table, verdicts, Queries(table, verdicts)), withheld(table, verdicts)


def test_every_decided_hypothesis_makes_one_claim(make: Make, servers: Servers) -> None:
    claims, reasons = claimed(make().folder, servers)
    assert [(claim.id, claim.hypothesis) for claim in claims] == [(f"c{i}", f"H{i}") for i in range(1, 7)]
    assert reasons == []
    assert claims[0].sentence.startswith("In `llama`, `sarcasm` is highest in `layers_0_20`: ")
    assert claims[1].verdict == "contradicted"
    assert "not in `layers_0_20` as predicted" in claims[1].sentence
    assert claims[0].scope["models"] == ["llama"]


def test_the_templates_hold_no_number_of_their_own(make: Make, servers: Servers) -> None:
    claims, _ = claimed(make().folder, servers)
    for claim in claims:
        prose = re.sub(r"\{\{.*?\}\}", "", claim.template)
        assert not re.search(r"\d", prose), claim.template
        assert claim.queries


def test_claims_of_the_other_outcomes_read_as_what_they_are(make: Make, servers: Servers) -> None:
    where = {"model": "llama", "condition": "sarcasm_full"}
    full = {"left": {"condition": "sarcasm_full"}, "right": {"condition": "base"}}
    predictions: list[dict[str, Any]] = [
        {"kind": "diffuse", "dimension": "sarcasm", "model": "llama"},
        {"kind": "greater", "dimension": "sarcasm", **full, "by": 9.5, "each": "model"},
        {"kind": "below", "dimension": "sarcasm", "where": where, "than": 1.5},
        {"kind": "same_peak", "dimension": "wit", "models": ["llama", "gemma"]},
        {"kind": "peak", "dimension": "wit", "model": "qwen", "expect": "layers_0_20"},
    ]
    hypotheses = [{"id": f"H{i}", "statement": "s", "prediction": p} for i, p in enumerate(predictions, 1)]
    claims, reasons = claimed(make(hypotheses=hypotheses).folder, servers)
    said = {claim.id: claim.sentence for claim in claims}
    assert "is not spread over all ranges as predicted" in said["c1"]
    assert "does not exceed `base` in `sarcasm` by as much as predicted" in said["c2"]
    assert "does not stay below the predicted limit" in said["c3"]
    assert "does not peak in one and the same range" in said["c4"]
    assert list(said) == ["c1", "c2", "c3", "c4"]
    assert len(reasons) == 1
    assert reasons[0].startswith("H5 makes no claim: undecided, largest mean in")


def test_without_a_canary_on_record_nothing_is_claimed(make: Make) -> None:
    claims, reasons = claimed(make().folder, None)
    assert claims == ()
    assert "no canary is on record" in reasons[0]


def test_a_missing_treatment_claims_nothing(make: Make, servers: Servers) -> None:
    for server in servers:
        server |= {"state": "failed", "failure": "treatment_missing", "canary": {"passed": False, "checks": []}}
    claims, reasons = claimed(make().folder, servers)
    assert claims == ()
    assert all("n=0 of 9" in reason for reason in reasons)


def test_without_samples_nothing_is_claimed(make: Make, servers: Servers) -> None:
    made = make()
    made.samples, made.judgments = [], []
    claims, reasons = claimed(made.write(), servers)
    assert claims == ()
    assert len(reasons) == 6


def test_answers_that_the_treatment_did_not_change_claim_nothing(make: Make, servers: Servers) -> None:
    made = make()
    for row in made.samples:
        if row["model"] == "llama":
            row["text"] = f"A plain answer to {row['prompt']}."
    claims, reasons = claimed(made.write(), servers)
    assert [claim.hypothesis for claim in claims] == ["H2", "H3"]
    assert "no treated answer of llama differs" in reasons[0]


def test_claims_yaml_can_be_read_back(make: Make, servers: Servers) -> None:
    made = make()
    claims, _ = claimed(made.folder, servers)
    found = yaml.safe_load(write_claims(made.folder, claims).read_text("utf-8"))["claims"]
    assert [claim["sentence"] for claim in found] == [claim.sentence for claim in claims]
    assert found[0]["holds"] == 'verdict("H1") == "supported"'
    assert found[0]["confirmatory"] is True
    assert (found[0]["n"], found[0]["planned"]) == (45, 45)
