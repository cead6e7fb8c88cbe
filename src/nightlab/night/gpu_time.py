"""GPU time of a night's servers, in its ledger: reserved minute by minute while their jobs run, for `--gpu-hours`.

A minute of the wall clock is charged whole when a server is first seen to run in it, so each server counts up to a
minute too much at its beginning and its end; a queued job holds no GPU and costs nothing.
"""

from __future__ import annotations

import time

from nightlab.budget import Budget
from nightlab.servers.manifest import Manifest

MINUTE = 60.0


def charge(budget: Budget, manifest: Manifest) -> None:
    """Count the minute under way once for a server that runs now. Raises BudgetExceeded where the limit has no room."""
    if not manifest.gpus:
        return
    key = f"gpu/{manifest.job}/{int(time.time() // MINUTE)}"
    seconds = MINUTE * manifest.gpus
    budget.reserve(key, gpu_seconds=seconds, who="servers").commit(gpu_seconds=seconds)
