"""How well scores agree: Krippendorff's alpha for interval data, and intraclass correlations, with intervals.

Alpha comes from the `krippendorff` library and takes missing values. The intraclass correlations are those of Shrout &
Fleiss (1979), Psychological Bulletin 86: ICC(2,1), raters drawn at random, absolute agreement of single scores, from
the two-way analysis of variance; it needs every rater for every item, so that items with a missing score are left out.
Intervals resample items (percentile bootstrap). Both measures need items that differ: among equal items no agreement
can be shown, and nothing is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 500
LEAST_ITEMS = 3
LEVEL = 0.95


@dataclass(frozen=True)
class Agreement:
    """A coefficient with its interval, over so many items; `differ` is the mean absolute difference of two scores."""

    value: float
    low: float
    high: float
    items: int
    differ: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}], {self.items} items"


def alpha(scores: Floats, *, seed: int = 0, resamples: int = RESAMPLES) -> Agreement | None:
    """Krippendorff's alpha of `scores[rater, item]` (NaN: missing); None where it is not defined."""
    return _measured(scores, _alpha, seed, resamples)


def icc(scores: Floats, *, seed: int = 0, resamples: int = RESAMPLES) -> Agreement | None:
    """ICC(2,1) of `scores[rater, item]`, items with a missing score left out; None where it is not defined."""
    whole = scores[:, ~np.isnan(scores).any(axis=0)]
    return _measured(whole, lambda values: icc_forms(values)["ICC(2,1)"], seed, resamples)


def icc_forms(scores: Floats) -> dict[str, float]:
    """The single-score forms of Shrout & Fleiss for complete `scores[rater, item]`; NaN where all scores are equal."""
    raters, items = scores.shape
    grand = scores.mean()
    between = raters * ((scores.mean(axis=0) - grand) ** 2).sum() / (items - 1)
    rater = items * ((scores.mean(axis=1) - grand) ** 2).sum()
    within_sum = ((scores - scores.mean(axis=0)) ** 2).sum()
    within = within_sum / (items * (raters - 1))
    error = (within_sum - rater) / ((items - 1) * (raters - 1))
    rated = rater / (raters - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "ICC(1,1)": float((between - within) / (between + (raters - 1) * within)),
            "ICC(2,1)": float((between - error) / (between + (raters - 1) * error + raters * (rated - error) / items)),
            "ICC(3,1)": float((between - error) / (between + (raters - 1) * error)),
        }


def _alpha(scores: Floats) -> float:
    import krippendorff

    known = scores[~np.isnan(scores)]
    if known.size < 2 or (known == known[0]).all():
        return float("nan")
    return float(krippendorff.alpha(reliability_data=scores, level_of_measurement="interval"))


def _measured(scores: Floats, measure: Callable[[Floats], float], seed: int, resamples: int) -> Agreement | None:
    pairable = (~np.isnan(scores)).sum(axis=0) >= 2
    scores = scores[:, pairable]
    items = scores.shape[1]
    if scores.shape[0] < 2 or items < LEAST_ITEMS:
        return None
    value = measure(scores)
    if np.isnan(value):
        return None
    dice = np.random.default_rng(seed)
    drawn = [measure(scores[:, dice.integers(0, items, items)]) for _ in range(resamples)]
    kept = np.array([one for one in drawn if not np.isnan(one)])
    tail = (1 - LEVEL) / 2
    low, high = (float(np.quantile(kept, share)) for share in (tail, 1 - tail)) if kept.size else (value, value)
    return Agreement(value, low, high, items, _differ(scores))


def _differ(scores: Floats) -> float:
    """The mean absolute difference between two raters of the same item."""
    raters = scores.shape[0]
    gaps = [np.abs(scores[i] - scores[j]) for i in range(raters) for j in range(i + 1, raters)]
    return float(np.nanmean(np.concatenate(gaps)))
