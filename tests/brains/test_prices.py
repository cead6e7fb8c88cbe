"""What tokens cost: the dated table, its tiers, and what a lab puts in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlab.brains.prices import Prices
from nightlab.errors import ConfigError
from nightlab.lab import Lab

ROW = "{input: 1, output: 2, cache_read: 0.1, write_5m: 1.25, write_1h: 2}"


def usage(**given: Any) -> dict[str, Any]:
    return {"input_tokens": 0, "output_tokens": 0, **given}


def test_every_tier() -> None:
    prices = Prices.load()
    million = 1_000_000
    opus = "claude-opus-5-5"
    assert prices.cost(opus, usage(input_tokens=million)) == 4
    assert prices.cost(opus, usage(output_tokens=million)) == 20
    assert prices.cost(opus, usage(cache_read_input_tokens=million)) == pytest.approx(0.2)
    assert prices.cost(opus, usage(cache_creation_input_tokens=million)) == 5
    tiers = {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000}
    both = usage(cache_creation_input_tokens=3000, cache_creation=tiers)
    assert prices.cost(opus, both) == pytest.approx((1000 * 5 + 2000 * 8) / million)
    assert prices.cost(opus, usage(input_tokens=million), batch=True) == 2
    assert prices.cost(opus, usage(input_tokens=million, inference_geo="us")) == pytest.approx(4.4)
    assert prices.as_of == "2026-11-23"


def test_long_prompts_of_haiku_cost_more_as_a_whole() -> None:
    prices = Prices.load()
    short = usage(input_tokens=50_000, cache_read_input_tokens=50_000, output_tokens=1000)
    assert prices.cost("claude-haiku-5-5", short) == pytest.approx((5000 + 500 + 500) / 1e6)
    long = {**short, "input_tokens": 50_001}
    assert prices.cost("claude-haiku-5-5", long) == pytest.approx((50_001 * 0.5 + 2500 + 2500) / 1e6)


def test_iterations_hold_everything() -> None:
    parts = [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 0},
        {"type": "fallback_message", "model": "claude-sonnet-5-5", "input_tokens": 0, "output_tokens": 1000},
    ]
    cost = Prices.load().cost("claude-opus-5-5", usage(input_tokens=1, iterations=parts))
    assert cost == pytest.approx((4000 + 10_000) / 1e6)


def test_unknown_models_cost_the_dearest_and_dates_do_not_matter() -> None:
    prices = Prices.load()
    assert not prices.knows("gpt")
    assert prices.row("gpt", 0) == prices.rows["claude-fable-5-1"]
    assert prices.knows("claude-haiku-4-5-20251001")
    assert prices.cost("gpt", usage(output_tokens=1_000_000)) == 50


def make_lab(root: Path, setting: str = "") -> Lab:
    (root / "pyproject.toml").write_text(f"[tool.nightlab]\n{setting}\n", "utf-8")
    return Lab.open(root)


def test_a_lab_overrides_row_by_row(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    assert Prices.of_lab(lab).rows == Prices.load().rows
    (tmp_path / "prices.yaml").write_text(f"as_of: 2027-01-01\nmodels:\n  mine: {ROW}\n", "utf-8")
    prices = Prices.of_lab(lab)
    assert (prices.as_of, prices.rows["mine"].output) == ("2027-01-01", 2)
    assert prices.knows("claude-opus-5-5")


BROKEN = {
    "models: [1]": "no price table",
    "prices: {}": "unknown key",
    "batch: -1": "batch is -1",
    "models: {m: 3}": "mapping",
    "models: {m: {input: 1}}": "missing",
    "models: {m: {input: 1, outputs: 2}}": "did you mean output",
    f"models: {{m: {ROW.replace('2}', 'free}')}}}": "'free'",
    f"models: {{m: {ROW[:-1]}, long: {{above: x}}}}}}": "above",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_table_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=BROKEN[text]):
        Prices.load(path)
