"""The pace of a share: it doubles while that pays, holds where it does not, and falls where the server says so."""

from __future__ import annotations

import time

import pytest

from nightlab.experiments.pace import Pace


def rounds(pace: Pace, count: int, latency: float) -> None:
    for _ in range(count):
        for _ in range(pace.limit):
            pace.answered(latency)


def test_it_reaches_what_is_allowed_in_two_rounds_while_latency_holds() -> None:
    pace = Pace(64)
    assert pace.limit == 32
    grown: list[int] = []
    pace.grown = lambda: grown.append(pace.limit)
    rounds(pace, 2, 0.05)
    assert pace.limit == 64
    assert grown[-1] == 64
    rounds(pace, 5, 0.05)
    assert (pace.limit, pace.cuts) == (64, 0)


def test_one_request_at_a_time_stays_one() -> None:
    pace = Pace(1)
    rounds(pace, 3, 1.0)
    pace.refused(time.monotonic())
    assert pace.limit == 1


def test_a_burst_of_refusals_is_one_cut_and_the_way_back_is_slow() -> None:
    pace = Pace(64)
    rounds(pace, 2, 0.05)
    sent = time.monotonic()
    for _ in range(64):
        pace.refused(sent)
    assert (pace.limit, pace.cuts) == (32, 1)
    pace.refused(time.monotonic())
    assert pace.limit == 16
    rounds(pace, 3, 0.05)
    assert pace.limit == 22


def test_a_server_that_slows_down_is_given_less_and_one_that_is_slow_is_not() -> None:
    pace = Pace(40)
    rounds(pace, 6, 0.1)
    rounds(pace, 1, 0.5)
    assert pace.limit == 32
    for _ in range(20):  # slow for good: it becomes the usual
        rounds(pace, 1, 0.5)
    assert pace.limit > 32


@pytest.mark.parametrize(("waits", "limit"), [(0, 64), (10, 64), (40, 44), (200, 32)])
def test_requests_that_wait_in_the_server_are_taken_back(waits: int, limit: int) -> None:
    pace = Pace(64)
    rounds(pace, 2, 0.05)
    pace.waiting(waits)
    assert pace.limit == limit
