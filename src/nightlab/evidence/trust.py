"""How far the judge can be trusted, beside the numbers that rest on it: a row under each table of means, a section, and
caveats. Without an audited judge nothing of it is shown, as there is nothing to measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nightlab.evidence.markdown import Markdown, bullets, code, escape, table
from nightlab.evidence.stats import number
from nightlab.judging.agreement import Agreement
from nightlab.judging.reliability import Drift, Trust

if TYPE_CHECKING:
    from nightlab.evidence.summary import Summary

LOW_ALPHA = 0.667
"""Below it Krippendorff (2004) advises against even tentative conclusions."""


def beside(summary: Summary) -> list[tuple[Markdown, ...]]:
    """A row for a table of means: the reliability of each dimension; none where it was not measured."""
    found = summary.reliability
    if found is None or not found.measured:
        return []
    cells = [escape(found.trust[name].short if name in found.trust else "not measured") for name in _names(summary)]
    return [(Markdown("*reliability*"), *cells, Markdown(""))]


def section(summary: Summary, drift: Sequence[Drift] = ()) -> Markdown:
    """The reliability of each dimension, the audit of the batches, the drift of judges, and what the pilot showed."""
    found = summary.reliability
    if found is None or not (found.measured or found.batches):
        return Markdown("")
    header = ("dimension", "retest α", "retest ICC", "between judges α", "between judges ICC", "gold: off, bias, n")
    rows = [_row(found.trust[name]) for name in _names(summary) if name in found.trust]
    judged = "1 batch with known items was" if found.batches == 1 else f"{found.batches} batches with known items were"
    rejected = f"{len(found.rejected)} {'was' if len(found.rejected) == 1 else 'were'} rejected"
    audit = f"{judged} judged; {rejected}"
    why = f": {'; '.join(found.rejected)}" if found.rejected else ""
    method = (
        "α is Krippendorff's, for interval data; ICC is ICC(2,1) of Shrout and Fleiss. Brackets are intervals that "
        "resample answers."
    )
    pilot = _pilot(found.pilot) if found.pilot else ""
    return Markdown(f"{table(header, rows)}\n\n{method} {escape(audit + why)}.{_drift(drift)}{pilot}")


def cautions(summary: Summary) -> Iterator[str]:
    """What speaks against the scores."""
    found = summary.reliability
    if found is None:
        return
    yield from (f"the judge's scores are degenerate in {doubt}" for doubt in found.doubts)
    if found.rejected:
        yield f"{len(found.rejected)} batches of judgments were rejected by their known items, and judged again"
    for name, trust in found.trust.items():
        for what, measured in (("two judges agree", trust.between), ("the judge agrees with itself", trust.retest)):
            if measured and measured.value < LOW_ALPHA:
                yield f"{what} poorly on {name}: alpha {number(measured.value, 2)}"


def drift_cautions(drift: Sequence[Drift]) -> Iterator[str]:
    """Judges that changed between two days, beyond chance."""
    for one in drift:
        if one.certain:
            change = f"{one.change:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
            yield f"{one.judge} drifted on {one.dimension} between {one.first} and {one.last}: {change} on gold items"


def _names(summary: Summary) -> tuple[str, ...]:
    return summary.table.dimensions


def _row(trust: Trust) -> tuple[Markdown, ...]:
    gold = trust.gold
    shown = Markdown(f"{number(gold.off, 2)}, {number(gold.bias, 2)}, {gold.n}") if gold else Markdown("none")
    parts = (trust.retest, trust.retest_icc, trust.between, trust.between_icc)
    return (code(trust.dimension), *(_agreement(part) for part in parts), shown)


def _agreement(found: Agreement | None) -> Markdown:
    return escape(str(found)) if found else Markdown("not measured")


def _drift(drift: Sequence[Drift]) -> str:
    """How judges changed on the gold items of this rubric, from their first day in the lab to their last."""
    if not drift:
        return ""
    header = ("judge", "dimension", "from", "to", "change of its error on gold", "items")
    rows = [
        (
            code(one.judge),
            code(one.dimension),
            Markdown(one.first),
            Markdown(one.last),
            escape(f"{one.change:+.2f} [{one.low:+.2f}, {one.high:+.2f}]" + (", drifted" if one.certain else "")),
            Markdown(str(one.items)),
        )
        for one in drift
    ]
    said = "The same judges on the same gold items on another day, in this lab's experiments by this rubric:"
    return f"\n\n{said}\n\n{table(header, rows)}"


def _pilot(pilot: Any) -> str:
    rows = [
        (code(row["model"]), code(row["condition"]), Markdown(str(row["n"])), Markdown(str(row.get("na", ""))))
        for row in pilot["strata"]
    ]
    went = "the judging went on" if pilot["go_on"] else "the judging was stopped"
    doubts = [escape(text) for text in (*pilot["rejected"], *pilot["doubts"])]
    told = f"\n\n{bullets(doubts)}" if doubts else ""
    shown = table(("model", "condition", "n", "without a score"), rows)
    pooled = f" Means over all of it: {_means(pilot['means'])}." if pilot.get("means") else ""
    return f"\n\nThe pilot, judged before the rest; after it {went}.{pooled}\n\n{shown}{told}"


def _means(means: dict[str, float | None]) -> Markdown:
    return escape(", ".join(f"{name} {'NA' if mean is None else number(mean)}" for name, mean in means.items()))
