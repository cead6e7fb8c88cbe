"""Hard limits: reserve before, commit after, and nothing forgotten by a crash."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlab.budget import PARTS, Amounts, Budget, Clock, Limits, Share
from nightlab.errors import BudgetExceeded


def test_reserve_commit_release(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "l", Limits(usd=1.0, tokens=100))
    one = budget.reserve("a", usd=0.6, tokens=10, who="judge")
    assert budget.left()["usd"] == pytest.approx(0.4)
    one.commit(usd=0.1, tokens=5)
    one.commit(usd=0.9)
    two = budget.reserve("b", usd=0.9, who="orchestrator")
    two.release()
    assert budget.spent() == Amounts(pytest.approx(0.1), 5, 0.0)  # type: ignore[arg-type]
    assert budget.by_who()["judge"].tokens == 5
    assert budget.left()["gpu_seconds"] is None


@pytest.mark.parametrize(
    ("limits", "wanted", "limit"),
    [
        (Limits(usd=0.01), {"usd": 0.011}, "usd"),
        (Limits(tokens=10), {"tokens": 11}, "tokens"),
        (Limits(gpu_seconds=10), {"gpu_seconds": 10.1}, "gpu_seconds"),
        (Limits(), {"usd": None}, "usd"),
        (Limits(deadline=1.0), {}, "clock"),
    ],
)
def test_a_limit_stops_before_it_is_crossed(
    tmp_path: Path, limits: Limits, wanted: dict[str, float | None], limit: str
) -> None:
    budget = Budget(tmp_path / "l", limits)
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", who="x", **wanted)  # type: ignore[arg-type]
    assert caught.value.limit == limit
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_an_amount_must_be_a_number(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Budget(tmp_path / "l", Limits()).reserve("a", usd=bad, who="x")


def test_the_ledger_survives_its_process(tmp_path: Path) -> None:
    first = Budget(tmp_path / "l", Limits(usd=1.0))
    first.reserve("open", usd=0.5, who="x")
    first.reserve("done", usd=0.4, who="x").commit(usd=0.1)
    first.close()
    second = Budget(tmp_path / "l", Limits(usd=1.0))
    assert second.spent().usd == pytest.approx(0.6)
    with pytest.raises(BudgetExceeded):
        second.reserve("more", usd=0.5, who="x")
    second.reserve("open", usd=0.5, who="x").commit(usd=0.2)
    assert second.spent().usd == pytest.approx(0.3)


def test_the_clock(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "l", Limits(deadline=time.time() + 100))
    left = budget.seconds_left()
    assert left is not None
    assert 90 < left <= 100
    budget.check_clock()
    assert Budget(tmp_path / "m", Limits()).seconds_left() is None
    with pytest.raises(BudgetExceeded, match="deadline"):
        Budget(tmp_path / "m", Limits(deadline=time.time() - 1)).check_clock()


def test_warnings_come_once_each(tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []
    budget = Budget(tmp_path / "l", Limits(usd=1.0), on_warning=lambda name, share: heard.append((name, share)))
    budget.reserve("a", usd=0.7, who="x").commit(usd=0.7)
    assert heard == []
    budget.reserve("b", usd=0.1, who="x").commit(usd=0.1)
    budget.reserve("c", usd=0.2, who="x").commit(usd=0.2)
    assert heard == [("usd", 0.8), ("usd", 1.0)]
    again: list[tuple[str, float]] = []
    Budget(tmp_path / "l", Limits(usd=1.0), on_warning=lambda name, share: again.append((name, share)))
    assert again == []


def test_settling_what_was_never_reserved_is_a_defect(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "l", Limits())
    one = budget.reserve("a", who="x")
    one.key = "b"
    with pytest.raises(KeyError):
        one.commit()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50), st.integers(0, 50), st.booleans())))
def test_spent_is_the_sum_of_what_counts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "l"
    budget, model = Budget(path, Limits(tokens=200)), dict[str, int]()
    settled: set[str] = set()
    for number, reserve, cost, commit in steps:
        key = str(number)
        if key not in model and sum(model.values()) + reserve > 200:
            with pytest.raises(BudgetExceeded):
                budget.reserve(key, tokens=reserve, who="x")
            continue
        held = budget.reserve(key, tokens=reserve, who="x")
        model.setdefault(key, reserve)
        if commit:
            held.commit(tokens=cost)
            if key not in settled:
                model[key] = cost
                settled.add(key)
    assert budget.spent().tokens == sum(model.values()) == Budget(path, Limits()).spent().tokens
    budget.close()


def test_a_clock_that_is_set_back_does_not_prolong_and_one_that_jumps_forward_ends(tmp_path: Path) -> None:
    now = {"wall": 1_000_000.0, "elapsed": 50.0}
    clock = Clock(lambda: now["wall"], lambda: now["elapsed"])
    budget = Budget(tmp_path / "ledger.jsonl", Limits(deadline=1_003_600.0), clock=clock)
    now["wall"] -= 6 * 3600
    now["elapsed"] += 1600
    assert budget.seconds_left() == 2000
    now["elapsed"] += 2000
    assert budget.seconds_left() == 0.0
    budget.change(Limits(deadline=now["wall"] + 60))
    assert budget.seconds_left() == 60
    now["wall"] += 6 * 3600
    assert budget.seconds_left() == 0.0


def test_no_part_of_a_night_uses_up_what_the_others_need(tmp_path: Path) -> None:
    said: list[tuple[str, float]] = []
    shares = {"agents": 0.5, "judges": 0.2}

    def opened(limits: Limits) -> Budget:
        return Budget(tmp_path / "l", limits, shares=shares, on_warning=lambda *told: said.append(told))

    budget = opened(Limits(usd=10.0))
    Share(budget, "watch_01_scientist_1", Limits()).reserve("a", usd=3.0).commit(usd=2.5)
    with pytest.raises(BudgetExceeded, match=r"5\.5 would be used of 5, the agents' share of 10") as caught:
        Share(budget, "watch_01_debugger_2", Limits()).reserve("b", usd=3.0)
    assert (caught.value.limit, caught.value.hint) == ("usd", "raise share_agents, or the limit")
    assert Share(budget, "watch_01_debugger_2", Limits(usd=9.0)).left()["usd"] == 2.5
    budget.reserve("c", usd=1.8, who="judge").commit(usd=1.8)
    assert said == [("usd of judges", 0.8)]
    with pytest.raises(BudgetExceeded, match="the judges' share"):
        budget.reserve("d", usd=0.3, who="judge")
    budget.close()
    again = opened(Limits(usd=10.0))
    assert [again.left_of(part) for part in PARTS] == [pytest.approx(5.7), 2.5, pytest.approx(0.2)]
    again.reserve("e", usd=5.7, who="orchestrator")
    with pytest.raises(BudgetExceeded, match=r"usd: 10\.2 would be used of 10"):
        again.reserve("f", usd=0.2, who="judge")
    again.change(Limits(usd=20.0))
    again.reserve("f", usd=2.0, who="judge")
    assert opened(Limits()).left_of("judges") is None


def test_a_reservation_that_was_lost_counts_in_full_and_what_is_asked_again_is_another(tmp_path: Path) -> None:
    first = Budget(tmp_path / "l", Limits(usd=10.0))
    first.reserve("turn/1", usd=2.0, tokens=7, who="orchestrator")
    first.close()
    budget = Budget(tmp_path / "l", Limits(usd=10.0))
    held = Share(budget, "watch_01_scout", Limits()).open("turn/1")
    assert held
    assert held.amounts == Amounts(2.0, 7)
    held.lose()
    held.lose()
    assert budget.open("turn/1") is None
    budget.reserve(budget.fresh("turn/1"), usd=2.0, who="orchestrator").commit(usd=0.5)
    assert budget.spent() == Amounts(2.5, 7)
