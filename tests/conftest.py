"""What tests of several rooms share."""

from __future__ import annotations

import pytest

from tests import slurm


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> slurm.Cluster:
    """A real Slurm, which the commands of this test speak to."""
    one = slurm.cluster()
    monkeypatch.setenv("SLURM_CONF", str(one.conf))
    monkeypatch.setenv("PATH", slurm.PATH)
    return one
