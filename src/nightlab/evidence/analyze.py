"""From the rows of an experiment to its tables, verdicts, claims and figures; report.py makes the report of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nightlab.evidence.analysis import Analysis
from nightlab.evidence.assertions import contradictions
from nightlab.evidence.caveats import find_caveats
from nightlab.evidence.claims import Claim, make_claims, write_claims
from nightlab.evidence.context import Context, collect, read_context
from nightlab.evidence.design import read_design
from nightlab.evidence.deviations import find_deviations
from nightlab.evidence.family import evaluate_all
from nightlab.evidence.figures import draw_all
from nightlab.evidence.power import read_power
from nightlab.evidence.predict import Verdict
from nightlab.evidence.queries import Queries
from nightlab.evidence.reproduce import write_reproduce
from nightlab.evidence.rows import read_rows
from nightlab.evidence.stats import RESAMPLES
from nightlab.evidence.summary import Summary, write_tables
from nightlab.evidence.table import Table
from nightlab.evidence.trust import drift_cautions
from nightlab.evidence.withdrawn import Analysed, read_withdrawn
from nightlab.experiments.marks import MARKS, Mark, Marks
from nightlab.judging.reliability import drift_beside


def analyze(
    folder: Path,
    *,
    servers: Iterable[Mapping[str, Any]] | None = None,
    events: Iterable[Mapping[str, Any]] = (),
    cost: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
    others: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    folders: Iterable[Path] = (),
) -> Analysis:
    """Analyse an experiment folder and write tables/, figs/, claims.yaml, evidence.json and reproduce.py into it.

    `servers` are server manifests, `events` the night's events, `cost` named numbers, `others` the claims of the lab's
    other experiments by the name they are cited with, all as plain dicts, `folders` those experiments' folders, where
    its judges may have scored the same gold items; what concerns this experiment is kept in
    evidence.json. Without `servers` no canary is on record and no claim is made. Raises
    FrozenError (no frozen plan), ConservationError (rows lost or doubled).
    """
    design = read_design(folder)
    context = collect(design, read_rows(folder), servers, events, cost, resamples)
    write_reproduce(folder)
    found = _analyzed(folder, context)
    documents = [claim.document() for claim in found[2]]
    drifted = tuple(drift_beside(folder, folders, seed=design.seed, resamples=resamples))
    context = replace(context, against=contradictions(documents, others or {}), drift=drifted)
    context.write(folder)
    return _written(folder, context, found, folder, pictures=True)


def analyze_again(folder: Path, into: Path | None = None, *, pictures: bool = True) -> Analysis:
    """Analyse an experiment folder with the snapshot that its last analysis kept.

    `into` is where the files go, if not into the folder itself; without `pictures` figures are csv files alone.
    """
    context = read_context(folder)
    return _written(folder, context, _analyzed(folder, context), into or folder, pictures=pictures)


def analysed_without(
    folder: Path, servers: Iterable[Mapping[str, Any]], marks: Sequence[Mark] | None, resamples: int = RESAMPLES
) -> tuple[tuple[Verdict, ...], tuple[Claim, ...]]:
    """The verdicts and claims that an experiment has under some marks (None: its own); nothing is written."""
    rows = read_rows(folder, None if marks is None else Marks(marks, folder / MARKS))
    table = Table.from_experiment(folder, servers=list(servers), resamples=resamples, rows=rows)
    verdicts = evaluate_all(table)
    return verdicts, make_claims(table, verdicts, Queries(table, verdicts))


def analysed(verdicts: Iterable[Verdict], claims: Iterable[Claim]) -> Analysed:
    """The verdicts and sentences alone, to compare with those of another analysis."""
    return Analysed({v.id: v.verdict for v in verdicts}, {c.hypothesis: c.sentence for c in claims})


def _analyzed(folder: Path, context: Context) -> tuple[Summary, tuple[Verdict, ...], tuple[Claim, ...]]:
    """What the rows say."""
    table = Table.from_experiment(folder, servers=context.servers, resamples=context.resamples)
    verdicts = evaluate_all(table)
    return Summary(table), verdicts, make_claims(table, verdicts, Queries(table, verdicts))


def _looks(context: Context) -> Iterator[str]:
    """Looks at incomplete data: each one is a chance to stop at a lucky moment."""
    if context.looks:
        times = "once" if context.looks == 1 else f"{context.looks} times"
        yield f"extra looks: the data were analysed {times} before they were complete"


def _written(
    folder: Path,
    context: Context,
    found: tuple[Summary, tuple[Verdict, ...], tuple[Claim, ...]],
    into: Path,
    *,
    pictures: bool,
) -> Analysis:
    """Tables, claims and figures on the disk."""
    summary, verdicts, made = found
    table = summary.table
    claims = tuple(replace(claim, against=context.against.get(claim.id, ())) for claim in made)
    write_claims(into, claims)
    tables = tuple(str(path.relative_to(into)) for path in write_tables(summary, verdicts, into))
    return Analysis(
        table.design.name,
        table,
        summary,
        verdicts,
        claims,
        draw_all(summary, into, pictures=pictures),
        tables,
        (*find_deviations(table, folder, context.servers or ()), *_looks(context)),
        (*find_caveats(summary, verdicts), *drift_cautions(context.drift)),
        context,
        read_withdrawn(folder),
        read_power(folder),
    )
