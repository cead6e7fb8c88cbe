"""The shipped experiment on real vLLM: two of its models, all prompts and conditions; the planted truth is found."""

from __future__ import annotations

import functools
import shutil

import pytest
import yaml

from nightlab import practice
from nightlab.evidence.family import evaluate_all
from nightlab.evidence.summary import Summary
from nightlab.evidence.table import Table
from nightlab.experiments.cells import cells
from nightlab.experiments.check import check
from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import Samples
from nightlab.experiments.sweep import run_sweep
from nightlab.judging.marker import MarkerJudge
from nightlab.judging.run import run_judges
from nightlab.night import proof, serving
from nightlab.servers.manifest import list_servers, load
from tests.servers.vllm.conftest import EXPERIMENT, MODELS, Served, wide

pytestmark = [pytest.mark.vllm, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]

EXPECTED = {"H1": "supported", "H2": "supported", "H4": "supported", "H5": "contradicted"}


def plan_on_vllm(served: Served) -> Plan:
    """The shipped plan without its third model, on vLLM, frozen."""
    folder = served.lab.experiments / EXPERIMENT.name
    shutil.copytree(EXPERIMENT, folder, ignore=shutil.ignore_patterns("*.jsonl", "tables", "figs", "plan.lock*"))
    data = yaml.safe_load((folder / "config.yaml").read_text())
    data["factors"]["models"] = [one for one in data["factors"]["models"] if one["name"] in MODELS]
    for one in data["factors"]["models"]:
        model, adapter = wide(one["name"], served.lab)
        one |= {"path": str(model), "adapters": {"persona_sarcasm": str(adapter)}}
    data["hypotheses"] = [one for one in data["hypotheses"] if one["id"] in EXPECTED]
    data["multiplicity"] = {"sequence": [name for name in data["multiplicity"]["sequence"] if name in EXPECTED]}
    data["serving"] = {"engine": "vllm"}
    (folder / "config.yaml").write_text(yaml.safe_dump(data))
    plan = Plan.load(folder)
    assert [problem for problem in check(plan) if problem.level == "error"] == []
    freeze(plan)
    return plan


async def test_the_demo_on_vllm_finds_the_planted_truth(served: Served) -> None:
    plan = plan_on_vllm(served)
    ends = {model.name: serving.endpoint(served.lab, plan, model) for model in plan.models}
    assert {end.server for end in ends.values()} == {served.manifests["vllm", name].id for name in MODELS}
    reload = functools.partial(proof.reload, served.lab, served.events)
    result = await run_sweep(plan, cells(plan), ends, events=served.events, concurrency=16, reload=reload)
    assert (result.answered, result.missing) == (2 * 7 * 9, 0)
    for end in ends.values():
        await proof.swept(served.lab, served.events, plan, end.server)
        last = load(served.lab, end.server).canaries[-1]
        assert (last["at"], last["passed"]) == (f"end of {plan.name}", True)
    samples = Samples(plan.folder)
    rows = list(samples.rows())
    assert len(rows) == result.answered, "nothing was set aside"
    assert {row["canary"] for row in rows} == {end.canary for end in ends.values()}
    await run_judges(plan, samples, MarkerJudge(Rubric.load(plan.rubric)), plan.folder)
    samples.close()
    table = Table.from_experiment(plan.folder, servers=[m.model_dump() for m in list_servers(served.lab)])
    peaks = {name: Summary(table).peak(name, "sarcasm") for name in MODELS}
    truth = practice.truth()["models"]
    assert {name: peak.best for name, peak in peaks.items() if peak} == {name: truth[name]["peak"] for name in MODELS}
    verdicts = {verdict.id: verdict.verdict for verdict in evaluate_all(table)}
    assert verdicts.keys() == EXPECTED.keys()
    assert all(verdicts[name] in (verdict, "undecided") for name, verdict in EXPECTED.items()), verdicts
    assert verdicts["H4"] == "supported", "the whole adapter is far from base on every prompt"
