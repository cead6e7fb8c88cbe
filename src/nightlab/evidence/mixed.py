"""A mixed-effects model as a second opinion on a difference: prompts as random intercepts (extra `stats`).

Laird & Ware (1982), Biometrics 38(4), fitted by restricted maximum likelihood with statsmodels. It gives every answer
its weight and assumes normal noise; the bootstrap of stats.py assumes little and resamples prompts. Its interval is
Wald's with Student's t on the number of prompts less one, since a normal one is too narrow with few of them.
Limits: a random intercept alone, so prompts that differ in the effect itself make this interval too narrow.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightlab.errors import NotSetUp
from nightlab.evidence.stats import LEVEL, Estimate, Floats, Ints

CITED = "Laird & Ware 1982"
FEWEST = 3
"""Prompts below which no variance between them is estimated."""


@dataclass(frozen=True)
class Mixed:
    """The difference by the model, or why there is none."""

    estimate: Estimate
    trouble: str = ""

    def __str__(self) -> str:
        count = f"n={self.estimate.n} of {self.estimate.planned}"
        if self.trouble:
            return f"no estimate by a mixed-effects model ({self.trouble}), {count}"
        return f"{self.estimate} (mixed-effects model with an intercept for each prompt, {CITED})"


def fit(scores: Floats, prompts: Ints, left: NDArray[np.bool_], right: NDArray[np.bool_]) -> Mixed:
    """The mean of the rows `left` minus that of `right` under a random intercept for each prompt.

    NaN is a missing score; n counts the answers of both groups. Raises NotSetUp without the extra.
    """
    if importlib.util.find_spec("statsmodels") is None:
        hint = 'install it: pip install "nightlab[stats]"; difference(...) needs no extra'
        raise NotSetUp("a mixed-effects model needs statsmodels, which is not installed", hint=hint)
    chosen = left | right
    used = chosen & ~np.isnan(scores)
    clusters = len(np.unique(prompts[used]))
    none = Estimate(math.nan, math.nan, math.nan, int(used.sum()), int(chosen.sum()), clusters)
    if not (used & left).any() or not (used & right).any() or clusters < FEWEST:
        return Mixed(none, f"it needs scores on both sides and {FEWEST} prompts")
    return _fitted(none, scores[used], prompts[used], left[used].astype(np.float64))


def _fitted(none: Estimate, scores: Floats, prompts: Ints, treated: Floats) -> Mixed:
    from scipy.stats import t
    from statsmodels.regression.mixed_linear_model import MixedLM

    if np.ptp(scores) == 0:
        return Mixed(none, "all scores are the same")
    design = np.column_stack([np.ones(len(scores)), treated])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is read from the result below
            found = MixedLM(scores, design, groups=prompts).fit(reml=True, method=["lbfgs", "powell"])
    except (np.linalg.LinAlgError, ValueError) as problem:
        return Mixed(none, f"the fit failed: {problem}")
    value, error = float(found.fe_params[1]), float(found.bse_fe[1])
    if not found.converged or not math.isfinite(error) or error <= 0:
        return Mixed(none, "the fit did not converge")
    reach = float(t.ppf((1 + LEVEL) / 2, none.clusters - 1)) * error
    return Mixed(Estimate(value, value - reach, value + reach, none.n, none.planned, none.clusters))
