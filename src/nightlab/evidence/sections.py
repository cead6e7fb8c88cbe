"""The generated sections of a report: each is a function of the analysis, each number comes from rows or snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nightlab import __version__
from nightlab.evidence.claims import Claim
from nightlab.evidence.design import known_name
from nightlab.evidence.markdown import Markdown, bold, bullets, code, escape, table
from nightlab.evidence.stats import LEVEL, Estimate, number
from nightlab.evidence.summary import Summary
from nightlab.evidence.table import EXCLUDED, INVALID, MISSING, SCORED, STATUSES, UNJUDGED, UNPROVEN, Table
from nightlab.evidence.trust import beside
from nightlab.evidence.withdrawn import Withdrawn
from nightlab.experiments.lock import Lock

if TYPE_CHECKING:
    from nightlab.evidence.analysis import Analysis
    from nightlab.evidence.context import Context

Section = Callable[[], Markdown]


def sections(analysis: Analysis) -> dict[str, Callable[..., Markdown]]:
    """Every generated section by its name in a template."""
    found: dict[str, Callable[..., Markdown]] = {
        "title": lambda: Markdown(f"# {escape(analysis.experiment)}"),
        "status": lambda: status(analysis),
        "question": lambda: escape(analysis.table.design.config.question),
        "claims": lambda: claims(analysis),
        "claim": lambda name: claim(analysis, name),
        "hypotheses": lambda: hypotheses(analysis),
        "peaks": lambda: peaks(analysis.summary),
        "means": lambda: means(analysis.summary),
        "figures": lambda: Markdown("\n\n".join(figure(analysis, f.name) for f in analysis.figures) or "none"),
        "figure": lambda name: figure(analysis, name),
        "counts": lambda: counts(analysis.table),
        "deviations": lambda: bullets(analysis.deviations),
        "power": lambda: power(analysis),
        "degradations": lambda: told(analysis, "degradation"),
        "corrections": lambda: told(analysis, "correction"),
        "caveats": lambda: bullets(analysis.caveats),
    }
    return found


def status(analysis: Analysis) -> Markdown:
    """One line: answered and judged of planned, and how many claims are made."""
    grid = analysis.table
    planned = len(grid.cells)
    return Markdown(
        f"{grid.answered()} of {planned} planned cells answered, {grid.count(SCORED)} judged and counted; "
        f"{len(analysis.claims)} claims. {_planned(grid.design.lock)}, hash "
        f"{code(grid.design.lock.sha256[:16])}; nightlab {__version__}."
    )


def _planned(lock: Lock) -> Markdown:
    """When the plan was fixed: before its data, or, where these were imported, after them and from them."""
    imported = "imported" in lock.document
    return Markdown(f"{'Plan made from imported data' if imported else 'Plan frozen'} {escape(lock.frozen)}")


def claims(analysis: Analysis) -> Markdown:
    """The claims with their ids, or that there are none; and those that were withdrawn, struck through."""
    lines = [
        Markdown(
            f"{bold(claim.id)} ({claim.hypothesis}, {claim.verdict}, {_kind(claim)}): {claim.sentence}{_against(claim)}"
        )
        for claim in analysis.claims
    ]
    shown = bullets(lines, "No claim is made: see the caveats for the reasons.")
    struck = [_withdrawn(claim) for claim in analysis.withdrawn]
    return Markdown(f"{shown}\n\nWithdrawn:\n\n{bullets(struck)}") if struck else shown


def _against(claim: Claim) -> str:
    """The claims of other experiments that say otherwise, side by side."""
    rows = [
        f"\n  - **Contradicts** {code(other.id)} (n={other.n}; {escape(other.what)}): {other.sentence}"
        for other in claim.against
    ]
    return "".join(rows)


def _withdrawn(claim: Withdrawn) -> Markdown:
    was = f"{claim.hypothesis} was {claim.verdict} and became {claim.now}"
    return Markdown(
        f"~~{bold(claim.id)}: {claim.sentence}~~ **Update** ({claim.date}): {escape(claim.why)}; {was} without the rows"
        " that were marked."
    )


def claim(analysis: Analysis, name: str) -> Markdown:
    """One claim with its id; an unknown one raises QueryError."""
    known = {claim.id: claim for claim in analysis.claims}
    found = known[known_name("claim", name, known, analysis.experiment)]
    return Markdown(f"{found.sentence} ({found.id}, {_kind(found)})")


def _kind(claim: Claim) -> str:
    kind = "confirmatory" if claim.confirmatory else "exploratory"
    return kind if claim.stands else f"{kind}, by its own test alone"


def hypotheses(analysis: Analysis) -> Markdown:
    """Every frozen hypothesis with its verdict and the numbers behind it."""
    rows = [
        (code(v.id), escape(v.statement), bold(v.verdict), escape(v.text), f"{v.n} of {v.planned}")
        for v in analysis.verdicts
    ]
    return table(("id", "statement", "verdict", "because", "n"), rows)


def peaks(summary: Summary) -> Markdown:
    """Per model and dimension: the range with the largest mean, its lead, and what is not ruled out."""
    rows: list[tuple[str, ...]] = []
    for model in summary.table.design.models:
        for dimension in summary.table.dimensions:
            peak = summary.peak(model, dimension)
            if peak is None:
                rows.append((code(model), code(dimension), "no data in some range", "", "", ""))
                continue
            mean = summary.at(model, peak.best, dimension)
            open_ = Markdown(", ".join(code(name) for name in peak.possible))
            decided = "yes" if peak.decided else "no"
            rows.append(
                (code(model), code(dimension), code(peak.best), _cell(mean), peak.lead.at_least(), decided, open_)
            )
    header = (
        "model",
        "dimension",
        "largest mean in",
        "mean, interval",
        "lead over the next",
        "decided",
        "not ruled out",
    )
    return table(header, rows)


def means(summary: Summary) -> Markdown:
    """A table of means per model: conditions by dimensions, the largest mean over the ranges in bold."""
    if not summary.table.dimensions:
        return Markdown("Nothing was judged.")
    return Markdown("\n\n".join(_means_of(summary, model) for model in summary.table.design.models))


def _means_of(summary: Summary, model: str) -> str:
    design, names = summary.table.design, summary.table.dimensions
    best = {
        name: max(
            (summary.at(model, c, name).value for c in design.ranges if summary.at(model, c, name).n), default=None
        )
        for name in names
    }
    rows: list[tuple[Markdown, ...]] = []
    for condition in design.conditions:
        estimates = [summary.at(model, condition, name) for name in names]
        top = [condition in design.ranges and e.value == best[name] for name, e in zip(names, estimates, strict=True)]
        cells = [bold(_cell(e)) if high else _cell(e) for e, high in zip(estimates, top, strict=True)]
        rows.append((code(condition), *cells, _range_of_n(estimates)))
    rows += beside(summary)
    n = summary.table.count(SCORED, model=model)
    planned = summary.table.count(model=model)
    heading = f"### {escape(model)}: n = {n} of {planned}"
    return f"{heading}\n\n{table(('condition', *(str(escape(name)) for name in names), 'n'), rows)}"


def _cell(estimate: Estimate) -> Markdown:
    if not estimate.n:
        return Markdown("no data")
    shown = "(anecdote)" if estimate.anecdote else estimate.interval_text()
    return Markdown(f"{number(estimate.value)} {shown}")


def _range_of_n(estimates: Sequence[Estimate]) -> Markdown:
    low, high = min(e.n for e in estimates), max(e.n for e in estimates)
    return Markdown(f"{low if low == high else f'{low} to {high}'} of {estimates[0].planned}")


def figure(analysis: Analysis, name: str) -> Markdown:
    """A figure of the experiment with the finding in its title, and its files; an unknown name raises QueryError."""
    known = {drawn.name: drawn for drawn in analysis.figures}
    drawn = known[known_name("figure", name, known, analysis.experiment)]
    title = escape(drawn.title)
    return Markdown(f"![{title}]({drawn.png})\n\n{title} ([pdf]({drawn.pdf}), [data]({drawn.csv}))")


def power(analysis: Analysis) -> Markdown:
    """What was simulated when the plan was frozen: whether it could decide its hypotheses, and how often it would."""
    found = analysis.power
    if found is None:
        return Markdown("The power of this plan was not simulated before its freeze.")
    said = [escape(row["said"]) for row in found["hypotheses"]]
    return Markdown(f"Before the freeze: {escape(found['verdict'])}.\n\n{bullets(said)}")


def counts(grid: Table) -> Markdown:
    """Planned, answered, judged and the rest, in all and per model, with the reasons."""
    header = (
        "model",
        "planned",
        "answered",
        "counted",
        "not judged",
        "missing",
        "excluded",
        "without canary",
        "invalidated",
    )
    models = [*grid.design.models, None]
    rows = [_count_row(grid, model) for model in models]
    reasons = grid.reasons(*(status for status in STATUSES if status != SCORED))
    why = bullets([f"{reason}: {count}" for reason, count in reasons.items()], "every planned cell counts")
    extra = f"\n\nAnswers to cells that were not planned, not counted: {len(grid.unplanned)}." if grid.unplanned else ""
    return Markdown(f"{table(header, rows)}\n\nReasons:\n\n{why}{extra}")


def _count_row(grid: Table, model: str | None) -> tuple[Markdown, ...]:
    where: dict[str, object] = {} if model is None else {"model": model}
    numbers = (
        grid.count(**where),
        grid.answered(**where),
        *(grid.count(status, **where) for status in (SCORED, UNJUDGED, MISSING, EXCLUDED, UNPROVEN, INVALID)),
    )
    return (bold("all") if model is None else code(model), *(Markdown(value) for value in numbers))


def told(analysis: Analysis, kind: str) -> Markdown:
    """The events of one kind: what, why, where."""
    return told_lines(analysis.context, kind)


def told_lines(context: Context, kind: str) -> Markdown:
    """The events of one kind in a snapshot."""
    hidden = ("v", "t", "kind", "key", "experiment", "night")
    lines = []
    for event in context.told(kind):
        parts = [str(event[name]) for name in ("what", "why", "where") if event.get(name)]
        rest = [f"{name} {value}" for name, value in event.items() if name not in (*hidden, "what", "why", "where")]
        lines.append(escape("; ".join([*parts, *rest])))
    return bullets(lines)


CONFIDENCE = f"{number(100 * LEVEL, 0)} %"
