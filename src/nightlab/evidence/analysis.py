"""What the data of one experiment say: made by analyze.py, and read by everything that writes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nightlab.evidence.claims import Claim
from nightlab.evidence.context import Context
from nightlab.evidence.figure_files import Figure
from nightlab.evidence.predict import Verdict
from nightlab.evidence.summary import Summary
from nightlab.evidence.table import SCORED, STATUSES, Table
from nightlab.evidence.withdrawn import Withdrawn


@dataclass(frozen=True)
class Analysis:
    """What the data of one experiment say, and the files that say it (relative to its folder)."""

    experiment: str
    table: Table
    summary: Summary
    verdicts: tuple[Verdict, ...]
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    tables: tuple[str, ...]
    deviations: tuple[str, ...]
    caveats: tuple[str, ...]
    context: Context
    withdrawn: tuple[Withdrawn, ...] = ()
    power: Mapping[str, Any] | None = None

    def peaks(self) -> dict[str, dict[str, str | None]]:
        """Per model and dimension, the range with the largest mean; None where a range has no data."""
        found = {}
        for model in self.table.design.models:
            peaks = {name: self.summary.peak(model, name) for name in self.table.dimensions}
            found[model] = {name: peak.best if peak else None for name, peak in peaks.items()}
        return found

    def document(self) -> dict[str, Any]:
        """A short JSON value for tools, events and briefs."""
        grid = self.table
        not_counted = (status for status in STATUSES if status != SCORED)
        return {
            "experiment": self.experiment,
            "planned": len(grid.cells),
            "answered": grid.answered(),
            "judged": grid.count(SCORED),
            "not_counted": grid.reasons(*not_counted),
            "verdicts": {verdict.id: verdict.verdict for verdict in self.verdicts},
            "because": {verdict.id: verdict.text for verdict in self.verdicts},
            "claims": [
                {
                    "id": c.id,
                    "hypothesis": c.hypothesis,
                    "verdict": c.verdict,
                    "value": c.sentence,
                    "against": [other.document() for other in c.against],
                }
                for c in self.claims
            ],
            "peaks": self.peaks(),
            "figures": [figure.png for figure in self.figures],
            "titles": [figure.title for figure in self.figures],
            "deviations": list(self.deviations),
            "caveats": list(self.caveats),
            "withdrawn": [asdict(claim) for claim in self.withdrawn],
        }
