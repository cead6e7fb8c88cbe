"""What a server's failure is as an error, by its manifest: what happened, the log that says so, and what to do next."""

from __future__ import annotations

from pathlib import Path

from nightlab.errors import CanaryFailed, ServerError
from nightlab.lab import Lab
from nightlab.servers.failures import Diagnosis, explain
from nightlab.servers.manifest import Manifest


def error_of(lab: Lab, manifest: Manifest, diagnosis: Diagnosis, kind: type[ServerError] = ServerError) -> ServerError:
    """The error of a server for a diagnosis."""
    return kind(
        f"the server of {manifest.model} failed: {diagnosis.cause}",
        failure=diagnosis.cls or "unknown",
        log=_log(lab, manifest),
        where=manifest.id,
        hint=diagnosis.hint,
    )


def refuse_ended(lab: Lab, manifest: Manifest) -> None:
    """Nothing more is asked of a server that was stopped or has failed: raises ServerError, CanaryFailed."""
    if manifest.state == "stopped":
        raise error_of(lab, manifest, explain("stopped"))
    if manifest.state == "failed":
        kind = CanaryFailed if manifest.canary and not manifest.canary["passed"] else ServerError
        raise kind(
            manifest.error or "the server failed",
            failure=manifest.failure or "unknown",
            log=_log(lab, manifest),
            where=manifest.id,
            hint=manifest.remedy or None,
        )


def _log(lab: Lab, manifest: Manifest) -> Path | None:
    return lab.root / manifest.log if manifest.log else None
