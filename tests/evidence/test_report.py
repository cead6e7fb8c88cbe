"""The report: compiled from queries, complete about what is missing, inert about what models wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlab.evidence.analysis import Analysis
from nightlab.evidence.analyze import analyze
from nightlab.evidence.design import QueryError
from nightlab.evidence.report import compile_report
from nightlab.evidence.sandbox import ReportError

from .conftest import Make

Servers = list[dict[str, Any]]
EVIL = (
    "<script>alert(1)</script> <img src=x onerror=y> **bold** _it_ [link](http://evil.example) ![i](x.png) `code` "
    "| cell | @maintainer #12 www.evil.example <!-- nightlab:findings --> $x$ ~~gone~~ {{ mean }} \x1b[31m \u202e"
)


def report(folder: Path, servers: Servers | None, **more: Any) -> tuple[str, Analysis]:
    analysis = analyze(folder, servers=servers, resamples=400, **more)
    return compile_report(folder, analysis).read_text("utf-8"), analysis


def test_the_report_has_every_section_and_the_numbers_of_the_table(make: Make, servers: Servers) -> None:
    events = [
        {"kind": "degradation", "what": "judge skipped a batch", "why": "timeout", "where": "judging", "t": "x"},
        {
            "kind": "correction",
            "what": "model id of qwen",
            "why": "wrong base",
            "experiment": "exp_001_toy",
        },
        {"kind": "degradation", "what": "not ours", "experiment": "exp_002_other"},
        {"kind": "turn", "what": "no"},
    ]
    text, analysis = report(make().folder, servers, events=events, cost={"usd": 0.0, "seconds": 41.5})
    for heading in [
        "Question",
        "Findings",
        "Figures",
        "Hypotheses",
        "Peaks",
        "Means",
        "Caveats",
        "Method",
        "Counts",
        "Judge",
        "Degradations",
        "Cost",
        "Examples",
        "Files",
    ]:
        assert f"\n## {heading}\n" in text
    assert "189 of 189 planned cells answered" in text
    assert "- judge skipped a batch; timeout; judging" in text
    assert "- model id of qwen; wrong base" in text
    assert "not ours" not in text
    assert "- seconds: 41.50" in text
    assert "This judge is deterministic and embedded" in text
    assert f"- **c1** (H1, supported, confirmatory): {analysis.claims[0].sentence}" in text
    assert "![Sarcasm by amplified layers: llama peaks in 0–20" in text
    base = analysis.summary.at("llama", "layers_0_20", "sarcasm")
    assert f"| `layers_0_20` | **{base.value:.1f} {base.interval_text()}**" in text
    assert "private" not in text + (analysis.table.design.name)


def test_the_template_is_copied_once_and_then_the_researchers_own(make: Make, servers: Servers) -> None:
    folder = make().folder
    _, analysis = report(folder, servers)
    template = folder / "report.md.j2"
    own = 'A first reading: {{ mean("sarcasm", model="llama", condition="base") }}.\n\n{{ figure("fig1_layers") }}\n'
    template.write_text(own, "utf-8")
    text = compile_report(folder, analysis).read_text("utf-8")
    assert text.startswith(f"A first reading: {analysis.summary.at('llama', 'base', 'sarcasm')}.")
    assert template.read_text("utf-8") == own


def test_a_typed_number_stops_the_report_and_keeps_the_old_one(make: Make, servers: Servers) -> None:
    folder = make().folder
    before, analysis = report(folder, servers)
    template = folder / "report.md.j2"
    template.write_text(template.read_text("utf-8").replace("## Figures", "The mean is 5.4.\n\n## Figures"), "utf-8")
    with pytest.raises(ReportError) as caught:
        compile_report(folder, analysis)
    line = template.read_text("utf-8").split("\n").index("The mean is 5.4.") + 1
    assert caught.value.where == f"{template}:{line}"
    assert (folder / "report.md").read_text("utf-8") == before


REFUSED: list[tuple[str, type[Exception], str]] = [
    ('{{ mean("sarkasm", model="llama", condition="base") }}', QueryError, "sarkasm"),
    ('{{ figure("fig9") }}', QueryError, "fig9"),
    ("{{ nothing() }}", ReportError, "nothing"),
    ("\n\n{{ mean.__globals__ }}", ReportError, ":3"),
    ("{{ mean() }}", ReportError, "dimension"),
    ("{{ range }}", ReportError, "range"),
    ("{% if %}", ReportError, "malformed"),
]


def test_a_template_that_asks_for_what_is_not_there_is_refused(make: Make, servers: Servers) -> None:
    folder = make().folder
    analysis = analyze(folder, servers=servers, resamples=400)
    for template, error, said in REFUSED:
        (folder / "report.md.j2").write_text(template, "utf-8")
        with pytest.raises(error) as caught:
            compile_report(folder, analysis)
        assert said in str(caught.value)
        assert not (folder / "report.md").exists()


def test_markup_in_answers_plans_and_events_does_not_survive(make: Make, servers: Servers) -> None:
    folder = make(text=EVIL, question=EVIL).folder
    text, _ = report(folder, servers, events=[{"kind": "degradation", "what": EVIL}])
    for live in ("<script", "<img", "<!--", "**bold**", " _it_ ", "](http", "![i]", " `code` ", "@maintainer", " #12"):
        assert live not in text, live
    for live in ("| cell |", "www.evil", "http://", "$x$", "~~gone~~", "\x1b", "\u202e"):
        assert live.replace("|", "|") not in text, live
    assert text.count("&lt;script&gt;") == 5


def test_what_is_missing_is_said(make: Make, servers: Servers) -> None:
    made = make()
    made.samples = [row for row in made.samples if (row["model"], row["condition"]) != ("qwen", "layers_0_20")][2:]
    kept = {row["key"] for row in made.samples}
    made.judgments = [row for row in made.judgments if row["key"] in kept]
    made.samples.append({**made.samples[0], "key": "extra", "condition": "sarcasm_double"})
    made.samples[5] |= {"finish_reason": "length", "attempt": 2, "model_id": "other/llama"}
    made.judgments[3]["rubric"] = "s" * 16
    made.judgments[4]["scores"]["wit"] = None
    text, analysis = report(made.write(), servers)
    deviations = "\n".join(analysis.deviations)
    assert "dropped: qwen, layers_0_20: 0 of 9 cells answered (never asked 9)" in deviations
    assert "incomplete: llama, base: 7 of 9 cells answered" in deviations
    assert "added: llama, sarcasm_double: 1 answers" in deviations
    assert "answers say they are of other/llama" in deviations
    assert f"1 judgments were made under the rubric {'s' * 16}" in deviations
    caveats = "\n".join(analysis.caveats)
    assert "11 of 189 planned cells do not count" in caveats
    assert "1 judged answers have no wit score" in caveats
    assert "1 answers were cut at the token limit" in caveats
    assert "H3 makes no claim" in caveats
    assert "Answers to cells that were not planned, not counted: 1." in text
    assert "no data in some range" in text
    assert analysis.peaks()["qwen"] == {"sarcasm": None, "wit": None}


@pytest.mark.slow
def test_changes_after_the_freeze_are_deviations(make: Make, servers: Servers) -> None:
    folder = make(judge={"repeats": 2}).folder
    config = folder / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("max_tokens: 64", "max_tokens: 65"), "utf-8")
    (folder / "rubric.md").write_text("# Another rubric\n", "utf-8")
    (folder / "prompts" / "direct-1.yaml").unlink()
    _, analysis = report(folder, servers)
    said = "\n".join(analysis.deviations)
    assert "`sampling` in config.yaml differs" in said
    assert "rubric.md differs from the frozen rubric" in said
    assert "prompts differ from the frozen ones: direct-1" in said
    assert "189 answers were judged less often than the planned 2 times" in said
    config.write_text("question: [", "utf-8")
    _, analysis = report(folder, servers)
    assert "can no longer be compared" in "\n".join(analysis.deviations)


def test_a_report_without_servers_or_judgments_still_says_so(make: Make) -> None:
    made = make()
    made.judgments = []
    text, analysis = report(made.write(), None)
    assert "No server manifests were given" in text
    assert "Nothing was judged." in text
    assert analysis.figures == ()
    assert "No claim is made" in text
    assert "not judged: 189" in text


@pytest.mark.slow
def test_servers_that_failed_are_named_and_machines_are_not(make: Make, servers: Servers) -> None:
    failed = {"id": "srv-x", "model": "qwen", "model_id": "other/qwen", "state": "failed", "failure": "port_in_use"}
    other = {"id": "srv-y", "model": "mistral", "state": "failed", "failure": "unknown"}
    folder = make().folder
    text, analysis = report(folder, [*servers, failed, other])
    assert "| failed port_in_use |" in text
    assert "mistral" not in text
    assert "/somewhere/private" not in (folder / "evidence.json").read_text("utf-8")
    assert analysis.context.servers is not None
    unknown = [server for server in servers if server["model"] != "gemma"]
    text, _ = report(folder, unknown)
    assert "Answers of servers without a manifest: 63." in text


def test_an_analysis_that_the_plan_does_not_announce_is_tagged_exploratory(make: Make) -> None:
    asked = 'mean("wit", model="llama", condition="base")'
    other = 'mean("wit", model="gemma", condition="base")'
    folder = make(analyses=[asked]).folder
    analysis = analyze(folder, resamples=200)
    (folder / "report.md.j2").write_text(f"{{{{ {asked} }}}} and {{{{ {other} }}}}\n\n{{{{ deviations() }}}}\n")
    text = compile_report(folder, analysis).read_text()
    tagged = [line for line in text.splitlines() if "exploratory, not in the plan" in line]
    assert len(tagged) == 1
    assert "gemma" in tagged[0]


def test_looks_at_incomplete_data_stand_in_the_report(make: Make) -> None:
    folder = make().folder
    look = {"kind": "analysis", "experiment": folder.name, "planned": 189, "answered": 90}
    events = [look | {"judged": judged} for judged in (60, 90, 189)] + [look | {"experiment": "exp_9", "judged": 1}]
    analysis = analyze(folder, events=events, resamples=200)
    assert "extra looks: the data were analysed 2 times before they were complete" in analysis.deviations
    assert "analysed 2 times" in compile_report(folder).read_text()
