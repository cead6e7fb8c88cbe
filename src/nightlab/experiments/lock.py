"""plan.lock.json: a plan as it was frozen, with its hash and the identities behind its cells.

Beside the document that the hash is of stands what the plan said of serving, with a hash of its own: that may change
between two nights, and is compared with the servers that answered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import FrozenError
from nightlab.experiments.identity import Treatments
from nightlab.files import now, read_text, sha256_json, write_atomic

LOCK = "plan.lock.json"


@dataclass(frozen=True)
class Lock:
    """A frozen plan: its hash, when it was frozen, and the document that the hash is of."""

    sha256: str
    frozen: str
    document: dict[str, Any]
    serving: dict[str, Any] | None = None
    """What was declared of serving; None where that was not kept."""

    @property
    def treatments(self) -> Treatments:
        """The identities behind the frozen cells."""
        return Treatments.from_document(self.document["treatments"])


def read_lock(folder: Path) -> Lock | None:
    """The lock of an experiment folder, or None where its plan is not frozen. Raises FrozenError for a damaged one."""
    path = folder / LOCK
    if not path.exists():
        return None
    try:
        data = json.loads(read_text(path, FrozenError))
        served = data.get("serving")
        lock = Lock(data["sha256"], data["frozen"], data["document"], None if served is None else served["declared"])
        intact = served is None or sha256_json(served["declared"]) == served["sha256"]
    except (ValueError, KeyError, TypeError):
        raise FrozenError("the lock cannot be read", where=path, hint="restore it from git") from None
    if not intact or sha256_json(lock.document) != lock.sha256:
        raise FrozenError(
            "the lock was edited: its hash is not that of its content", where=path, hint="restore it from git"
        )
    return lock


def write_lock(folder: Path, document: dict[str, Any], serving: dict[str, Any] | None = None) -> Lock:
    """Write the lock of a folder durably. Raises StorageError."""
    lock = Lock(sha256_json(document), now(), document, serving)
    content: dict[str, Any] = {"sha256": lock.sha256, "frozen": lock.frozen, "document": document}
    if serving is not None:
        content["serving"] = {"sha256": sha256_json(serving), "declared": serving}
    write_atomic(folder / LOCK, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return lock
