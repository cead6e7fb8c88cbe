"""Every error a user can meet, drawn as a tree.

* NightlabError            exit 1   what happened, where, what to do next
  x UsageError             exit 2   the input is wrong
    + LabError                      no lab here, or the lab's folder is broken
    + ConfigError                   a setting
    + PlanError                     experiments/*/config.yaml
      - FrozenError                 the plan changed after it was frozen
    + PromptError                   prompts/*.yaml
    + AmplificationError            conditions/*.yaml
    + AdapterError                  an adapter folder, or one that does not fit its model
    + RubricError                   rubric.md
    + SpecError                     agents/*.md, skills/*/SKILL.md, tools/*.py
  x NotSetUp               exit 4   a key or another precondition of a run is missing
  x StorageError                    the disk is full, read-only, or a file is damaged
    + DiskFull                      no space is left: what waits goes on when there is
  x LockHeld                        another night is running on this lab
  x PlaceUnreachable                the place of a job does not answer; what runs there runs on
  x BudgetExceeded                  money, tokens, GPU time or the clock
  x ServerError                     a model server did not start, or did not answer
    + CanaryFailed                  the server runs, and its treatment is not proven
  x ContractBroken                  HTTP 200 whose body is not an answer
  x SweepStopped                    the same failure K times in a row
  x ConservationError               rows were lost or doubled between two tables
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class NightlabError(Exception):
    """What happened, where it happened, and what to do next."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        advice = f"\n  {self.hint}" if self.hint else ""
        return f"{self.what}{place}{advice}"


class UsageError(NightlabError):
    """The input is wrong; nothing was written."""

    exit_code = 2


class LabError(UsageError):
    """There is no usable lab here."""


class ConfigError(UsageError):
    """A setting is unknown or has a wrong value."""


class PlanError(UsageError):
    """An experiment's config.yaml cannot be used."""


class FrozenError(PlanError):
    """The plan was frozen, and what is asked for would change it."""


class PromptError(UsageError):
    """A prompt file cannot be used."""


class AmplificationError(UsageError):
    """A condition file cannot be used, or does not fit the model."""


class AdapterError(UsageError):
    """An adapter folder is incomplete, or belongs to another model."""


class RubricError(UsageError):
    """A rubric cannot be used."""


class SpecError(UsageError):
    """An agent, skill or tool file cannot be used."""


class NotSetUp(NightlabError):
    """Something a run needs is not there yet."""

    exit_code = 4


class StorageError(NightlabError):
    """The disk refused, or a file that only grows is damaged in its middle."""


class DiskFull(StorageError):
    """There is no room: nothing was lost, and the same command goes on when there is some."""


class LockHeld(NightlabError):
    """Another night runs on this lab."""


class PlaceUnreachable(NightlabError):
    """The place of a job cannot be asked now: what runs there runs on, and nothing is known of it."""


class BudgetExceeded(NightlabError):
    """A limit would be crossed; `limit` names it: usd, tokens, gpu_seconds or clock."""

    def __init__(self, what: str, *, limit: str, where: str | Path | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint)
        self.limit = limit


class ServerError(NightlabError):
    """A model server failed; `failure` is a closed class code, `log` its log file if there is one."""

    def __init__(
        self,
        what: str,
        *,
        failure: str = "unknown",
        log: Path | None = None,
        where: str | Path | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.failure = failure
        self.log = log


class CanaryFailed(ServerError):
    """The server answers, and its treatment is not proven: none of its answers count."""


class ContractBroken(NightlabError):
    """An answer with status 200 that does not keep the contract."""


class SweepStopped(NightlabError):
    """One failure came K times in a row; `failure` is its class, `sample` the text of one."""

    def __init__(self, what: str, *, failure: str, sample: str, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.failure = failure
        self.sample = sample


class ConservationError(NightlabError):
    """Rows in are not rows out plus rows explained."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to a mistyped one, or None where nothing is close."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
