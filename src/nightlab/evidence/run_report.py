"""report.md of an experiment of `kind: run`, from its template and its analysis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from statistics import median

from nightlab import __version__
from nightlab.evidence.lint import lint
from nightlab.evidence.markdown import Markdown, bold, bullets, code, escape, table
from nightlab.evidence.record import write_record
from nightlab.evidence.report import check_figures
from nightlab.evidence.run_analysis import RunAnalysis, shown
from nightlab.evidence.run_claims import RunClaim
from nightlab.evidence.runs import analyze_runs_again
from nightlab.evidence.sandbox import ReportError, render
from nightlab.evidence.scope import Cited, Scope
from nightlab.evidence.sections import told_lines
from nightlab.evidence.wording import check_words
from nightlab.files import read_text, write_atomic

TEMPLATE = "report.md.j2"
SHIPPED = "runs.md.j2"


def compile_run_report(
    folder: Path, analysis: RunAnalysis | None = None, into: Path | None = None, *, pictures: bool = True
) -> Path:
    """Write report.md (and record.json), into the folder or another one; without an analysis one is made from rows.

    Raises ReportError.
    """
    analysis = analysis or analyze_runs_again(folder, into, pictures=pictures)
    if pictures:
        check_figures(into or folder, analysis.figures)
    template = folder / TEMPLATE
    if not template.exists():
        write_atomic(template, (resources.files("nightlab.evidence") / "templates" / SHIPPED).read_text("utf-8"))
    text = read_text(template, ReportError)
    path = (into or folder) / "report.md"
    write_atomic(path, compile_run_text(text, template, analysis))
    if into is None:
        write_record(folder)
    return path


def compile_run_text(text: str, where: Path | str, analysis: RunAnalysis, names: Iterable[str] = ()) -> str:
    """A template text, checked and rendered; `names` may hold digits besides those of the plan. Raises ReportError."""
    config = analysis.config
    own = [
        *config.metrics,
        *config.parameters,
        analysis.experiment,
        *(hypothesis.id for hypothesis in config.hypotheses),
    ]
    lint(text, where, [*own, *names])
    check_words(text, where, _scope(analysis, own))
    return render(text, {name: make(analysis) for name, make in SECTIONS.items()}, where)


_BACKED = {"supported": frozenset({"greater"}), "contradicted": frozenset({"not greater"})}


def _scope(analysis: RunAnalysis, own: list[str]) -> Scope:
    """What a text about runs may speak of; each claim of theirs compares two points of the grid."""
    return Scope(
        names=frozenset(own),
        topics=frozenset([*analysis.config.metrics, *analysis.config.parameters]),
        hypotheses={hypothesis.id: _BACKED for hypothesis in analysis.config.hypotheses},
        claims={claim.id: Cited(_BACKED[claim.verdict]) for claim in analysis.claims},
        experiment=analysis.experiment,
    )


def _title(analysis: RunAnalysis) -> Markdown:
    return Markdown(f"# {escape(analysis.experiment)}")


def _status(analysis: RunAnalysis) -> Markdown:
    lock = analysis.lock
    return Markdown(
        f"{analysis.measured} of {len(analysis.cells)} planned runs have metrics; {len(analysis.claims)} claims. Plan "
        f"frozen {escape(lock.frozen)}, hash {code(lock.sha256[:16])}; nightlab {__version__}."
    )


def _claims(analysis: RunAnalysis) -> Markdown:
    lines = [_claim(c) for c in analysis.claims]
    return bullets(lines, "No claim is made: no hypothesis is decided.")


def _claim(claim: RunClaim) -> Markdown:
    kind = "" if claim.confirmatory else ", exploratory"
    against = "".join(f" **Contradicted** by {code(o.id)} (n={o.n}): {escape(o.sentence)}" for o in claim.against)
    return Markdown(f"{bold(claim.id)} ({claim.hypothesis}, {claim.verdict}{kind}): {escape(claim.sentence)}{against}")


def _figures(analysis: RunAnalysis) -> Markdown:
    drawn = [
        f"![{escape(f.title)}]({f.png})\n\n{escape(f.title)} ([pdf]({f.pdf}), [data]({f.csv}))"
        for f in analysis.figures
    ]
    return Markdown("\n\n".join(drawn) or "none")


def _hypotheses(analysis: RunAnalysis) -> Markdown:
    rows = [
        (code(v.id), escape(v.statement), bold(v.verdict), escape(v.text), f"{v.n} of {v.planned}")
        for v in analysis.verdicts
    ]
    return table(("id", "statement", "verdict", "because", "pairs"), rows)


def _metrics(analysis: RunAnalysis) -> Markdown:
    names = [*analysis.config.parameters]
    heads = [f"{name} ({goal})" for name, goal in analysis.config.metrics.items()]
    rows = [
        (*(code(point[name]) for name in names), *(shown(analysis.estimate(point, m)) for m in analysis.config.metrics))
        for point in analysis.points
    ]
    return table((*names, *(str(escape(head)) for head in heads)), rows)


def _search(analysis: RunAnalysis) -> Markdown:
    if analysis.config.search is None:
        return Markdown("The plan has no search: every point of the grid is to be run.")
    rows = [
        (escape(", ".join(f"{name} {value}" for name, value in d.params.items())), bold(d.verdict),
         f"{d.value:.4g}", f"{d.gain:.4g}", f"{d.needed:.4g}")
        for d in analysis.decisions
    ]  # fmt: skip
    steps = table(("tried", "verdict", analysis.config.search.metric, "gain", "needed (noise floor)"), rows)
    return Markdown(f"{_best(analysis)}\n\n{steps}")


def _best(analysis: RunAnalysis) -> Markdown:
    """What the search ended with, and how far it is from its baseline."""
    kept = [d for d in analysis.decisions if d.verdict in ("baseline", "kept")]
    if not kept:
        return Markdown("Nothing is decided: the baseline has too few runs.")
    first, best = kept[0], kept[-1]
    if best is first:
        return Markdown("The baseline stays: no change gained more than the noise.")
    point = ", ".join(f"{name} {value}" for name, value in best.params.items())
    gained = f"{len(kept) - 1} changes kept; the median went from {first.value:.4g} to {best.value:.4g}"
    return Markdown(f"Ended with {bold(point)}: {gained}.")


def _counts(analysis: RunAnalysis) -> Markdown:
    lost = Counter(analysis.document()["not_counted"])
    lines = [f"{reason}: {count}" for reason, count in lost.items()]
    failed = f"\n\nFailed attempts in all: {analysis.attempts}." if analysis.attempts else ""
    return Markdown(bullets(lines, "every planned run has its metrics") + failed)


def _method(analysis: RunAnalysis) -> Markdown:
    config = analysis.config
    grid = " × ".join(f"{len(levels)} {name}" for name, levels in config.parameters.items())
    inputs = analysis.lock.document["inputs"]
    files = ", ".join(f"{code(name)} ({code(sha[:16])})" for name, sha in inputs.items()) or "none"
    times = [float(row["seconds"]) for row in analysis.rows.values()]
    took = f"; a run took {median(times):.3g} s (median)" if times else ""
    return Markdown(
        f"{grid} × {config.replicates} replicates, seeds from {config.seed}. Command: "
        f"{code(' '.join(config.command))}, at most {config.timeout_seconds:g} s and {config.memory_gb:g} GB "
        f"each{_contained(analysis)}{took}. Inputs: {files}. {_frozen(analysis)}\n\n"
        "Means are over replicates; brackets are bootstrap intervals over them, expanded for few values (Hesterberg "
        f"2015), {analysis.context.resamples} resamples. Predictions compare two points paired by replicate, by the "
        "one-sided bound of Student's t. A missing metric is left out, never counted as zero."
    )


def _contained(analysis: RunAnalysis) -> str:
    """Where the runs with metrics ran, as their rows say."""
    levels = Counter(str(row["level"]) for row in analysis.rows.values())
    bare = levels.pop("none", 0)
    counted = f"{bare} runs " if levels else ""
    inside = f", in the sandbox ({', '.join(sorted(levels))})" if levels else ""
    outside = f", {counted}without a sandbox" if bare else ""
    return inside + outside


def _frozen(analysis: RunAnalysis) -> str:
    """What came first, the plan or its runs."""
    return f"{analysis.early or 'The plan was frozen before the first run'}."


def _cost(analysis: RunAnalysis) -> Markdown:
    seconds = sum(float(row["seconds"]) for row in analysis.rows.values())
    ledger = [f"{name.replace('_', ' ')}: {value:.2f}" for name, value in sorted((analysis.context.cost or {}).items())]
    return bullets([f"{seconds:.0f} s of runs", *ledger])


def _files(analysis: RunAnalysis) -> Markdown:
    names = [
        "samples.jsonl",
        "failures.jsonl",
        "claims.yaml",
        "plan.lock.json",
        "tables/runs.csv",
        "tables/metrics.csv",
    ]
    return Markdown(
        f"{', '.join(code(name) for name in names)}; each run's log and what it made below {code('runs/')}. "
        f"{code('python reproduce.py')} makes tables, claims and this report again."
    )


SECTIONS: dict[str, Callable[[RunAnalysis], Callable[[], Markdown]]] = {
    "title": lambda a: lambda: _title(a),
    "status": lambda a: lambda: _status(a),
    "question": lambda a: lambda: escape(a.config.question),
    "claims": lambda a: lambda: _claims(a),
    "hypotheses": lambda a: lambda: _hypotheses(a),
    "metrics": lambda a: lambda: _metrics(a),
    "figures": lambda a: lambda: _figures(a),
    "search": lambda a: lambda: _search(a),
    "caveats": lambda a: lambda: bullets(a.caveats),
    "method": lambda a: lambda: _method(a),
    "counts": lambda a: lambda: _counts(a),
    "deviations": lambda a: lambda: bullets(a.deviations),
    "degradations": lambda a: lambda: told_lines(a.context, "degradation"),
    "corrections": lambda a: lambda: told_lines(a.context, "correction"),
    "cost": lambda a: lambda: _cost(a),
    "files": lambda a: lambda: _files(a),
}
