"""What the real night would take, before any GPU is paid for: samples, tokens, GPU-hours, hours, dollars.

Every number is said with its arithmetic, and whether its rate was measured in this lab or is assumed. Tokens are upper
bounds: every answer as long as the plan allows, every prompt as many tokens as a quarter of its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nightlab.errors import NightlabError
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples
from nightlab.lab import Lab
from nightlab.night.cost import UNPRICED, gpus_of, judge_costs, prompt_tokens

ASSUMED_RATE = 1500.0  # tokens a second of an 8 B model on one GPU, requests side by side
ASSUMED_SIZE = 8.0  # billions of parameters, where the id does not say
START_SECONDS = 180.0  # of a server with 8 billion parameters, the canary included
FEWEST = 20  # answers that a measured rate needs
LATEST = 2000


@dataclass(frozen=True)
class Share:
    """One model's part of the night."""

    model: str
    samples: int
    tokens: int
    rate: float
    basis: str
    hours: float
    gpu_hours: float
    arithmetic: str


@dataclass(frozen=True)
class RealNight:
    """The whole night, model by model, and its judge; of a plan of `kind: run` its runs alone.

    `usd` is None where the price of its judge or of its GPUs is unknown: a sum of the rest would be no estimate.
    """

    shares: tuple[Share, ...]
    samples: int
    tokens: int
    gpu_hours: float
    hours: float
    usd: float | None
    judge_usd: float | None
    lines: tuple[str, ...]
    runs: int = 0

    def sentence(self) -> str:
        """What it takes, on one line."""
        what = f"{self.runs} runs" if self.runs else f"{self.samples} samples, {self.tokens} tokens"
        return f"{what}, {self.gpu_hours:.2f} GPU-hours, {self.hours:.2f} h, {self._dollars()}"

    def _dollars(self) -> str:
        if self.usd is not None:
            return f"{self.usd:.2f} $"
        if self.judge_usd is None:
            return "at an unknown price"
        return f"{self.judge_usd:.2f} $ without its GPUs, which are at {UNPRICED}"

    def document(self) -> dict[str, Any]:
        """A JSON value."""
        return {
            **({"runs": self.runs} if self.runs else {"samples": self.samples, "tokens": self.tokens}),
            "gpu_hours": round(self.gpu_hours, 3),
            "hours": round(self.hours, 3),
            "usd": None if self.usd is None else round(self.usd, 2),
            "judge_usd": None if self.judge_usd is None else round(self.judge_usd, 2),
            "models": [asdict(share) for share in self.shares],
            "arithmetic": list(self.lines),
        }


def real_night(lab: Lab, plan: Plan) -> RealNight:
    """The estimate of a plan that asks models, in this lab."""
    shares = tuple(_share(lab, plan, model.name, model.id) for model in plan.models)
    samples, tokens = sum(s.samples for s in shares), sum(s.tokens for s in shares)
    gpu_hours = sum(share.gpu_hours for share in shares)
    hours = max(share.hours for share in shares)
    judge_usd, judged = _judge(lab, plan, samples)
    gpu_usd, priced = gpu_price(lab, gpu_hours)
    usd = None if judge_usd is None or gpu_usd is None else gpu_usd + judge_usd
    lines = [share.arithmetic for share in shares]
    lines.append(f"GPU: {priced}")
    lines.append(judged)
    alone = sum(share.hours for share in shares)
    lines.append(f"hours: the longest share, {hours:.2f}, with all models at once; {alone:.2f} with one after another")
    return RealNight(shares, samples, tokens, gpu_hours, hours, usd, judge_usd, tuple(lines))


def gpu_price(lab: Lab, hours: float) -> tuple[float | None, str]:
    """What GPU hours cost in this lab, and the arithmetic; None where their price is not set."""
    price = lab.config.usd_per_gpu_hour
    if hours and not price:
        return None, f"{hours:.2f} h at {UNPRICED}"
    return hours * price, f"{hours:.2f} h x {price:g} $/h = {hours * price:.2f} $"


def _share(lab: Lab, plan: Plan, name: str, model_id: str) -> Share:
    samples = len(plan.conditions) * len(plan.prompts) * plan.replicates
    sizes = [prompt_tokens(prompt) for prompt in plan.prompts]
    read = sum(sizes) * len(plan.conditions) * plan.replicates
    written = samples * plan.sampling.max_tokens
    rate, basis = _rate(lab, model_id)
    start = START_SECONDS * _size(model_id) / ASSUMED_SIZE
    hours, cards = (start + written / rate) / 3600, max(1, gpus_of(lab, plan))
    told = f"{name}: {len(plan.conditions)} conditions x {len(plan.prompts)} prompts x {plan.replicates} replicates "
    told += f"= {samples} samples; "
    told += f"{start:.0f} s start + {samples} x {plan.sampling.max_tokens} tokens / {rate:.0f} tokens/s ({basis}) "
    told += f"= {hours:.3f} h on {cards} GPU{'s' if cards > 1 else ''}"
    return Share(name, samples, read + written, rate, basis, hours, hours * cards, told)


def _rate(lab: Lab, model_id: str) -> tuple[float, str]:
    """Tokens a second that this model gave in this lab, over whole sweeps; else an assumption by its size."""
    measured = [rate for rows in _sweeps(lab, model_id) if (rate := _throughput(rows)) is not None]
    if measured:
        return sum(measured) / len(measured), f"measured in {len(measured)} sweeps of this lab"
    size = _size(model_id)
    return ASSUMED_RATE * ASSUMED_SIZE / size, f"assumed for {size:g} billion parameters"


def _sweeps(lab: Lab, model_id: str) -> Iterator[list[dict[str, Any]]]:
    """The latest answers of this model, one list for each server that gave them."""
    for name in lab.experiment_names():
        try:
            plan = Plan.load(lab.experiments / name)
        except NightlabError:
            continue  # a plan that cannot be read measures nothing
        names = {model.name for model in plan.models if model.id == model_id}
        by_server: dict[str, list[dict[str, Any]]] = {}
        for row in list(Samples(plan.folder).rows())[-LATEST:] if names else []:
            if row["model"] in names:
                by_server.setdefault(str(row["server"]), []).append(row)
        yield from by_server.values()


def _throughput(rows: list[dict[str, Any]]) -> float | None:
    from datetime import datetime

    if len(rows) < FEWEST:
        return None
    ends = [datetime.fromisoformat(str(row["t"])).timestamp() for row in rows]
    begins = [end - float(row["latency"]) for end, row in zip(ends, rows, strict=True)]
    seconds = max(ends) - min(begins)
    return sum(int(row["completion_tokens"]) for row in rows) / seconds if seconds > 0 else None


def _size(model_id: str) -> float:
    found = re.findall(r"(\d+(?:\.\d+)?)\s*b(?![a-z])", model_id.lower().replace("_", "."))
    return max(0.1, float(found[-1])) if found else ASSUMED_SIZE


def _judge(lab: Lab, plan: Plan, samples: int) -> tuple[float | None, str]:
    costs = judge_costs(lab, plan, samples, plan.sampling.max_tokens)
    told = "judge: " + "; ".join(cost.sentence() for cost in costs)
    known = [cost.usd for cost in costs if cost.usd is not None]
    return (sum(known) if len(known) == len(costs) else None), told
