"""The pace of a share: it reaches what is allowed in a round, falls where the server says so, and comes back."""

from __future__ import annotations

import random
import time

import pytest

from nightlab.experiments.pace import Pace


def rounds(pace: Pace, count: int, latency: float) -> None:
    for _ in range(count):
        for _ in range(pace.limit):
            pace.answered(latency)


def test_it_reaches_what_is_allowed_within_a_round() -> None:
    pace = Pace(64)
    assert pace.limit == 32
    grown: list[int] = []
    pace.grown = lambda: grown.append(pace.limit)
    rounds(pace, 1, 0.05)
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


def test_latency_holds_the_way_back_and_takes_nothing() -> None:
    pace = Pace(40)
    rounds(pace, 6, 0.1)
    rounds(pace, 1, 0.5)
    assert (pace.limit, pace.cuts) == (40, 0)
    pace.refused(time.monotonic())
    rounds(pace, 1, 0.5)
    assert pace.limit == 20
    rounds(pace, 20, 0.5)  # slow for good: it becomes the usual
    assert pace.limit == 40


def test_a_busy_machine_costs_no_requests_in_flight() -> None:
    """Latencies as under eight busy processes on two cores: the server has nothing to do with them."""
    pace, chance = Pace(64), random.Random(1)
    for _ in range(64):
        pace.answered(chance.uniform(0.05, 0.6))
    assert pace.limit == 64
    pace.refused(time.monotonic())
    for _ in range(15):
        rounds(pace, 1, chance.uniform(0.05, 0.6))
    assert (pace.limit, pace.cuts) == (64, 1)


@pytest.mark.parametrize(("waits", "limit"), [(0, 64), (10, 64), (40, 44), (200, 32)])
def test_requests_that_wait_in_the_server_are_taken_back(waits: int, limit: int) -> None:
    pace = Pace(64)
    rounds(pace, 2, 0.05)
    pace.waiting(waits)
    assert pace.limit == limit
