"""The generated sections about how an experiment was made: method, models and servers, judge, cost, examples, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nightlab.evidence import trust
from nightlab.evidence.family import rule_in_words
from nightlab.evidence.markdown import Markdown, bullets, code, escape, table
from nightlab.evidence.sections import CONFIDENCE
from nightlab.evidence.stats import ANECDOTE, number
from nightlab.evidence.table import Table
from nightlab.experiments.looks import Schedule
from nightlab.experiments.schema import Uncorrected

if TYPE_CHECKING:
    from nightlab.evidence.analysis import Analysis

_EXAMPLE = 240

DECISIONS = (
    "A prediction has a direction and is frozen, so it is decided by a one-sided bound at the same level (*at least*,"
    " *at most*); what no bound decides is undecided. *Peak*: supported when the expected range is the decided peak, "
    "that is, lies above every other one; contradicted when it is ruled out. A range is ruled out as the peak when "
    "another one is the decided peak, or when another one lies above it at a level shared between its rivals. "
    "*Diffuse*: supported when all ranges lie within the allowed spread of one another and above the reference by the"
    " asked amount; contradicted when one of these certainly fails. *Greater* and *below*: the bound lies on the "
    "predicted or on the other side of the limit. *Same peak*: supported when one range is the decided peak of every "
    "model; contradicted when no range is left for all."
)


def setting(analysis: Analysis) -> dict[str, Callable[..., Markdown]]:
    """The sections by their names in a template."""
    return {
        "method": lambda: method(analysis),
        "models": lambda: models(analysis),
        "judge": lambda: Markdown(
            f"{judge(analysis.table)}\n\n{trust.section(analysis.summary, analysis.context.drift)}".strip()
        ),
        "cost": lambda: cost(analysis),
        "examples": lambda: examples(analysis),
        "files": lambda: files(analysis),
    }


def method(analysis: Analysis) -> Markdown:
    """The design and the analysis in words."""
    design = analysis.table.design
    sampling, levels = design.config.sampling, design.levels
    categories = Counter(cell.category for cell in design.cells)
    share = {name: count * len(levels["prompt"]) // len(design.cells) for name, count in categories.items()}
    asked = ", ".join(f"{count} {escape(name)}" for name, count in share.items())
    size = " × ".join(f"{len(levels[factor])} {factor}s" for factor in ("model", "condition", "prompt", "replicate"))
    return Markdown(
        f"{size} = {len(design.cells)} cells; prompts: {asked}. Sampled at temperature {sampling.temperature:g}, "
        f"top-p {sampling.top_p:g}, at most {sampling.max_tokens} tokens, seed {sampling.seed}. "
        f"Conditions: {', '.join(code(name) for name in levels['condition'])}. "
        "The plan, with its hypotheses and predictions, was frozen before the first sample.\n\n"
        f"Means are over prompts, their categories and replicates; that is the only pooling. Brackets are {CONFIDENCE} "
        f"intervals: a bootstrap over prompts as clusters (Cameron, Gelbach & Miller 2008), {analysis.table.resamples} "
        "resamples, bias-corrected and expanded for few prompts (Efron 1987; Hesterberg 2015), never narrower than the "
        "jackknife's t interval. Differences are paired by prompt. "
        f"A mean of fewer than {ANECDOTE} answers is an anecdote and has no interval. A missing score is left out, "
        f"never counted as zero.\n\n{DECISIONS} {_family(analysis)}{_looks(analysis)}"
    )


def _looks(analysis: Analysis) -> str:
    """Of an adaptive plan: how it looked, and what that saved."""
    design = analysis.table.design
    schedule = Schedule.of(design.config)
    if not schedule.adaptive:
        return ""
    full = len(design.models) * len(design.conditions) * len(design.levels["prompt"]) * schedule.most
    return (
        f"\n\nReplicates were added where a hypothesis was undecided: the frozen plan allowed at most {schedule.count} "
        f"looks, {design.looks_taken} were taken. Each test at a look has its equal share of the error (Pocock 1977, "
        f"Lan & DeMets 1983). {len(design.cells)} of the {full} cells of the full grid were called for, a saving of "
        f"{number(100 * (1 - len(design.cells) / full), 0)} %."
    )


def _family(analysis: Analysis) -> str:
    """How the hypotheses are corrected for one another."""
    count = len(analysis.verdicts)
    if count < 2:
        return ""
    how = escape(rule_in_words(analysis.table.design.config))
    marks = ""
    if isinstance(analysis.table.design.config.multiplicity, Uncorrected):
        marks = "; verdicts that stand alone only, not in the family (Holm 1979), are marked"
    return f"The {count} hypotheses are one family, {how}{marks}."


def models(analysis: Analysis) -> Markdown:
    """Models with the servers that answered for them, what proved the treatment, and failed starts."""
    design, context = analysis.table.design, analysis.context
    if context.servers is None:
        return Markdown("No server manifests were given: nothing proves that the treatments were applied.")
    answers = Counter(str(row.get("server")) for row in analysis.table.rows.samples.values())
    rows = []
    for server in context.servers:
        canary = "passed" if server["canary"]["passed"] else "not passed"
        checks = ", ".join(str(check["name"]) for check in server["canary"]["checks"])
        failure = f"{server['state']} {server['failure'] or ''}".strip()
        named = (server["model"], server["model_id"], server["id"], server["place"])
        rows.append((*named, failure, f"{canary} ({checks})" if checks else canary, str(answers[str(server["id"])])))
    unknown = set(answers) - {str(server["id"]) for server in context.servers}
    header = ("model", "id", "server", "place", "state", "canary", "answers")
    lost = f"\n\nAnswers of servers without a manifest: {sum(answers[name] for name in unknown)}." if unknown else ""
    names = bullets([Markdown(f"{code(name)}: {code(design.model_id(name))}") for name in design.models])
    return Markdown(f"{names}\n\n{table(header, rows)}{lost}")


def judge(grid: Table) -> Markdown:
    """Who judged, by which rubric, how often; and what that judge can and cannot see."""
    rows = [row for found in grid.rows.judgments.values() for row in found]
    if not rows:
        return Markdown("Nothing was judged.")
    judges = Counter(str(row["judge"]) for row in rows)
    rubrics = sorted({str(row.get("rubric")) for row in rows})
    said = "; ".join(f"{code(name)}: {count} judgments" for name, count in judges.items())
    named = ", ".join(code(name) for name in rubrics)
    text = f"{said}; rubric {named}. Packets were blind: no model, condition or hypothesis."
    if grid.design.config.judge.by == "markers":
        text += (
            " This judge is deterministic and embedded: it counts the markers that the rubric publishes. It is no"
            " language model, and gives the same answer the same score every time."
        )
    lost = {name: grid.not_available(name) for name in grid.dimensions}
    said_lost = ", ".join(f"{escape(name)} {count}" for name, count in lost.items() if count)
    return Markdown(f"{text} Judged answers without a score: {said_lost or 'none'}.")


def cost(analysis: Analysis) -> Markdown:
    """Tokens and time from the rows, and what the night's ledger says."""
    samples = list(analysis.table.rows.samples.values())
    asked, written = (sum(int(row.get(f"{kind}_tokens") or 0) for row in samples) for kind in ("prompt", "completion"))
    lines = [f"{asked} prompt tokens, {written} completion tokens in {len(samples)} answers"]
    ledger: Mapping[str, Any] = analysis.context.cost or {}
    lines += [f"{name.replace('_', ' ')}: {number(value, 2)}" for name, value in sorted(ledger.items())]
    if not ledger:
        lines.append("the night's ledger was not given")
    return bullets(lines)


def examples(analysis: Analysis) -> Markdown:
    """The highest scored answer of each model in the main dimension, as the model wrote it, escaped and cut."""
    dimension = analysis.summary.main
    grid = analysis.table
    if dimension is None:
        return Markdown("none")
    scores = grid.dimension(dimension)
    rows = []
    for model in grid.design.models:
        own = (grid.mask({"model": model}) & (scores == scores)).nonzero()[0].tolist()
        if own:
            best = max(own, key=lambda index: (scores[index], -index))
            cell, sample = grid.cells[best], grid.fates[best].sample or {}
            place = (code(model), code(cell.condition), code(cell.prompt))
            rows.append((*place, number(float(scores[best])), escape(sample.get("text", ""), _EXAMPLE)))
    shown = table(("model", "condition", "prompt", str(escape(dimension)), "answer"), rows)
    return Markdown(f"The highest scored answer of each model in {code(dimension)}, as it was written:\n\n{shown}")


def files(analysis: Analysis) -> Markdown:
    """Where the rows, tables and figures are, and how to make them again."""
    names = ["samples.jsonl", "failures.jsonl", "judgments.jsonl", "claims.yaml", "plan.lock.json", "evidence.json"]
    drawn = [path for figure in analysis.figures for path in (figure.png, figure.pdf, figure.csv)]
    found = [code(name) for name in (*names, *analysis.tables, *drawn)]
    return Markdown(
        f"{', '.join(found)}. {code('python reproduce.py')} makes tables, figures, claims and this report again."
    )
