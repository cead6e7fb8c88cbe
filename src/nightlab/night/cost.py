"""What the rest of an experiment would cost, told before anything is started: GPU time of its servers, and its judges.

Nobody is asked for it, and no key is needed. A judge's cost rests on what it took for its judgments here so far, else
on the lengths of the rubric, the questions and the answers: then calls are priced (a message batch costs half), nothing
is taken from a cache, and repairs are left out. `nightlab judge --dry-run` tells the most that it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from nightlab.agents import AgentSpec
from nightlab.brains.prices import Prices
from nightlab.compute import open_place
from nightlab.experiments.plan import Plan
from nightlab.experiments.prompts import Prompt
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.schema import Reader, SecondJudge
from nightlab.judging.checks import mix
from nightlab.judging.log import read_log
from nightlab.judging.marker import MarkerJudge
from nightlab.judging.openai import own
from nightlab.judging.reader import BATCH
from nightlab.judging.rows import read_judgments, stands
from nightlab.judging.verdicts import instructions
from nightlab.lab import Lab
from nightlab.night.judges import MODEL
from nightlab.servers.engines import Need, engine
from nightlab.settings import NOTHING

BYTES_PER_TOKEN = 4
TOKENS_PER_ANSWER = 300  # that a judge writes about one
FEWEST = 20  # judgments that a measured cost needs
UNPRICED = "an unknown price (usd_per_gpu_hour is not set)"


@dataclass(frozen=True)
class JudgeCost:
    """What one judge has still to score, the known items that go with it, and its price in dollars (None: unknown)."""

    judge: str
    judgments: int
    known: int
    tokens: int
    usd: float | None
    basis: str

    def sentence(self) -> str:
        """One sentence."""
        known = f" and {self.known} known items" if self.known else ""
        tokens = f" of {self.tokens} tokens" if self.tokens else ""
        usd = "at an unknown price" if self.usd is None else f"for about ${self.usd:.2f}" if self.usd else "for nothing"
        return f"{self.judge}: {self.judgments} judgments{known}{tokens} {usd} ({self.basis})"


def gpus_of(lab: Lab, plan: Plan) -> int:
    """How many GPUs the engine of a plan uses for one server, where it sees more."""
    serving = plan.serving
    need = Need(Path(), "", options=serving.options(), extra=tuple(serving.extra))
    return engine(serving.engine or lab.config.engine).gpus(need)


def gpu_cost(lab: Lab, plan: Plan, servers: int, seconds: float) -> str:
    """What the servers of a sweep cost while it asks, in one sentence; their start comes on top."""
    hours = servers * open_place(lab).gpus(plan.serving.resources, gpus_of(lab, plan)) * seconds / 3600
    if not hours:
        return "Servers: no GPU is counted here."
    price = lab.config.usd_per_gpu_hour
    usd = f"about ${hours * price:.2f}" if price else UNPRICED
    return f"Servers: {hours:.2f} GPU hours and their start, {usd}."


def judge_costs(lab: Lab, plan: Plan, answers: int, answer_tokens: float) -> list[JudgeCost]:
    """What each judge of a plan has still to score once there are so many answers of so many tokens.

    Raises RubricError, AgentError, ConfigError.
    """
    pricing = _Pricing(lab, plan, answers, answer_tokens)
    return [pricing.of(spec) for spec in (plan.judge, plan.judge.second) if spec is not None]


def prompt_tokens(prompt: Prompt) -> int:
    """The tokens of a prompt, by its bytes."""
    texts = [message["content"] for message in prompt.messages] if prompt.raw is None else [prompt.raw]
    return sum(len(text.encode()) for text in texts) // BYTES_PER_TOKEN + 1


class _Pricing:
    """What the judges of one plan have in common."""

    def __init__(self, lab: Lab, plan: Plan, answers: int, answer_tokens: float) -> None:
        self._lab, self._plan, self._answers = lab, plan, answers
        self._agent, self._rubric = AgentSpec.load(lab, "judge"), Rubric.load(plan.rubric)
        self._constant = len(instructions(self._agent.prompt, self._rubric).encode()) // BYTES_PER_TOKEN + 1
        self._shown = answer_tokens + mean(map(prompt_tokens, plan.prompts))

    def of(self, spec: Reader) -> JudgeCost:
        planned = self._answers * self._plan.judge.repeats
        if isinstance(spec, SecondJudge):
            planned = round(self._answers * spec.share)
        name = self._name(spec)
        own_rows = (row for row in read_judgments(self._plan.folder) if row["judge"] == name)
        made = sum(stands(row) and row["rubric"] == self._rubric.sha for row in own_rows)
        left = max(0, planned - made)
        if spec.by == "markers":
            return JudgeCost(name, left, 0, 0, 0.0, "it counts markers")
        known = self._known(left)
        requests = -(-(left + known) // spec.per_packet)
        read = self._constant + round(self._shown * spec.per_packet)
        usage = {"input_tokens": read, "output_tokens": TOKENS_PER_ANSWER * spec.per_packet}
        usd, basis = self._price(spec, name, left, made, requests, usage)
        return JudgeCost(name, left, known, requests * sum(usage.values()), usd, basis)

    def _name(self, spec: Reader) -> str:
        if spec.by == "markers":
            return MarkerJudge.name
        return spec.model or (self._agent.model or MODEL if spec.by == "claude" else "the judge")

    def _known(self, judgments: int) -> int:
        """The known items that are mixed into so many judgments."""
        whole, rest = divmod(judgments, BATCH)
        sizes = [BATCH, rest]
        added = [len(mix([str(n) for n in range(size)], self._rubric, "cost")) - size if size else 0 for size in sizes]
        return whole * added[0] + added[1]

    def _price(
        self, spec: Reader, name: str, left: int, made: int, requests: int, usage: Mapping[str, int]
    ) -> tuple[float | None, str]:
        """Dollars for so many requests, each of this usage, and what they rest on."""
        url = self._lab.config.judge_url
        if spec.by == "openai" and url != NOTHING and own(url):
            return 0.0, "an endpoint of your own"
        closed = [row for row in read_log(self._plan.folder, "closed") if row["judge"] == name]
        if made >= FEWEST and closed:
            return left * sum(float(row["usd"]) for row in closed) / made, f"as the {made} that it made so far"
        prices = Prices.of_lab(self._lab)
        if not prices.knows(name):
            return None, f"the price table of {prices.as_of} does not know it"
        return requests * prices.cost(name, usage), f"prices of {prices.as_of}, no cache; half of it in message batches"
