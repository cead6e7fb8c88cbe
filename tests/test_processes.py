"""What lasts as long as its process is set aside from the garbage collector, whatever happens while it is made."""

from __future__ import annotations

import gc

import pytest

from nightlab.processes import Lasting


def test_the_collector_rests_and_works_again_even_after_an_error() -> None:
    before = gc.get_freeze_count()
    try:
        with Lasting():
            assert not gc.isenabled()
            made = [[number] for number in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
        with pytest.raises(ZeroDivisionError), Lasting():
            _ = 1 / 0
        assert gc.isenabled()
    finally:
        gc.unfreeze()
