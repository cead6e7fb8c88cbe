"""`nightlab models`: which models and adapters there are; and of a plan, whether everything fits before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nightlab.cli.session import Session, json_option, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightlab.lab import Lab


@click.command()
@click.argument("experiment", required=False)
@click.option("--gpu-gib", type=click.FloatRange(min=0.001), help="Memory of the GPU.  [default: this machine's]")
@json_option
@click.pass_obj
def models(session: Session, experiment: str | None, gpu_gib: float | None, as_json: bool) -> None:
    """List the models and adapters of this machine; with EXPERIMENT, probe its plan.

    The probe resolves every model under every condition and reckons the GPU memory of each server, with the sum shown.
    Exit code 1 where something is missing or does not fit.
    """
    if experiment is None:
        found = _known(session.lab())
        print_json(found) if as_json else click.echo("\n".join(_listing(found)))
        return
    probed = _probe(session.lab(), experiment, gpu_gib)
    print_json(probed) if as_json else click.echo("\n".join(_report(probed)))
    if probed["problems"] or any(one["memory"] and one["memory"]["fits"] is False for one in probed["models"]):
        raise SystemExit(1)


def _known(lab: Lab) -> dict[str, Any]:
    from nightlab.servers import registry

    known = registry.models(lab)
    rows = [
        {
            "id": one.id,
            "revision": one.revision,
            "where": one.origin,
            "layers": one.layers,
            "same_weights_as": list(one.aliases),
            "folder": str(one.folder),
        }
        for one in known
    ]
    adapters = [
        {
            "name": one.name,
            "where": one.origin,
            "trained_on": one.card.base,
            "rank": one.card.largest_rank,
            "fits": list(one.fits),
            "sha256": one.card.sha256,
            "folder": str(one.card.path),
        }
        for one in registry.adapters(lab, known)
    ]
    return {"models": rows, "adapters": adapters}


def _listing(found: dict[str, Any]) -> list[str]:
    rows = [(m["id"], m["where"], f"{m['layers']} layers", (m["revision"] or "")[:8]) for m in found["models"]]
    lines = ["Models", *_table(rows)] if rows else ["No model is on this machine."]
    for model in found["models"]:
        if model["same_weights_as"]:
            lines.append(f"  {model['id']} has the same weights as {', '.join(model['same_weights_as'])}: two ids")
    lines += ["", "Adapters"] if found["adapters"] else []
    rows_of_adapters = [
        (a["name"], a["where"], f"rank {a['rank']}", f"trained on {a['trained_on'] or 'an unnamed model'}", _fits(a))
        for a in found["adapters"]
    ]
    return [*lines, *_table(rows_of_adapters)]


def _fits(adapter: dict[str, Any]) -> str:
    others = [name for name in adapter["fits"] if name != adapter["trained_on"]]
    if adapter["trained_on"] in adapter["fits"]:
        return f"fits it, and {', '.join(others)}" if others else "fits it"
    return f"fits {', '.join(others)}" if others else "fits no model here"


def _probe(lab: Lab, experiment: str, gpu_gib: float | None) -> dict[str, Any]:
    from nightlab.experiments.check import check
    from nightlab.experiments.plan import Plan
    from nightlab.experiments.probe import memory, pairs

    plan = Plan.load(lab.experiment(experiment))
    sums = []
    for model in plan.models:
        found = memory(plan, model, gpu_gib)
        sums.append({"model": model.name, "memory": found.document() if found else None, "lines": _lines(found)})
    rows = [{k: getattr(p, k) for k in ("model", "condition", "adapter", "weights", "problem")} for p in pairs(plan)]
    names = ("code", "what", "hint", "remedy")
    problems = [{name: getattr(p, name) for name in names} for p in check(plan) if p.level == "error"]
    return {"experiment": plan.name, "pairs": rows, "models": sums, "problems": problems}


def _lines(found: Any) -> list[str]:
    return list(found.lines()) if found else ["its files are not on this machine"]


def _report(probed: dict[str, Any]) -> list[str]:
    rows = [(p["model"], p["condition"], p["problem"] or p["weights"], p["adapter"] or "") for p in probed["pairs"]]
    lines = _table(rows)
    for model in probed["models"]:
        lines += ["", f"{model['model']} on one GPU", *model["lines"]]
    for problem in probed["problems"]:
        lines += ["", f"{problem['code']}: {problem['what']}", *(f"    {step}" for step in _steps(problem))]
    return lines


def _steps(problem: dict[str, Any]) -> list[str]:
    """What to do about a problem: its correction where that is beyond doubt, and its hint."""
    corrections = (problem["remedy"] or {}).get("set", {})
    steps = [f"correct it in config.yaml: {path}: {value}" for path, value in corrections.items()]
    return [*steps, problem["hint"]] if problem["hint"] else steps


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [f"  {line.rstrip()}" for line in padded]
