"""Which adapters a server has in memory: vLLM's own rule, mirrored from what it was asked.

vLLM keeps `max_cpu_loras` adapters and drops the one that was not used for longest. A dropped one stays listed and is
read from its folder again when it is asked for; a folder that is gone then ends the whole engine. The mirror names only
those that are there for sure: what was asked at once may have come in any order.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict


class Residency(BaseModel):
    """The room of a server for adapters, and the served names that are surely in its memory, longest unused first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: int
    memory: int
    resident: tuple[str, ...] = ()

    def holds(self, adapters: Collection[str]) -> bool:
        """Whether so many fit at once, so that none is ever dropped."""
        return len(adapters) <= self.memory

    def used(self, *names: str) -> Residency:
        """After these were loaded or asked one after the other."""
        kept = [name for name in self.resident if name not in names] + list(dict.fromkeys(names[::-1]))[::-1]
        return self.model_copy(update={"resident": tuple(kept[-self.memory :])})

    def only(self, names: Collection[str]) -> Residency:
        """After everything else was dropped: a server that was started again lists what it has."""
        return self.model_copy(update={"resident": tuple(name for name in self.resident if name in names)})

    def dropped(self, adapters: Collection[str]) -> list[str]:
        """Those that are not surely in memory."""
        return [name for name in adapters if name not in self.resident]
