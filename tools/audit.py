"""Hold an experiment against its own rows, record and history."""

from __future__ import annotations

import asyncio
from typing import Any

from nightlab.audit.run import audit as look
from nightlab.toolbox import ToolContext, tool

MOST = 40


@tool(effect="read")
async def audit(ctx: ToolContext, experiment: str) -> dict[str, Any]:
    """Make an experiment's report, tables and claims again from the rows and say what differs from its folder; nothing
    is written.

    Args:
        experiment: The experiment's name.

    Returns:
        sound; counts by level (error: it is wrong; warning: it may mislead; note: it could not be seen); findings with
        check, level, file, line, what and evidence, the gravest first, at most 40; cannot_see. A night makes this audit
        at its end in any case: make it earlier where you are about to rely on an older experiment.
    """
    folder = ctx.lab.experiment(experiment)
    document = (await asyncio.to_thread(look, folder, pictures=False)).document()
    names = ("sound", "counts", "cannot_see")
    return {name: document[name] for name in names} | {"findings": document["findings"][:MOST]}
