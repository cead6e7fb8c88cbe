"""`nightlab diagnose`: root cause, line and remedy; exit codes 0 healthy, 1 known, 3 unknown, 2 no such log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli

DATA = Path(__file__).parents[1] / "servers" / "data"


@pytest.mark.parametrize(
    ("log", "code", "cls"), [("port_in_use.log", 1, "port_in_use"), ("healthy/vllm_first_server.log", 0, None)]
)
def test_json_has_the_promised_keys(log: str, code: int, cls: str | None) -> None:
    done = CliRunner().invoke(cli, ["diagnose", str(DATA / log), "--json"])
    assert done.exit_code == code, done.output
    content = json.loads(done.stdout)
    assert {"class", "cause", "remedy", "confidence", "line", "context"} <= set(content)
    assert content["class"] == cls
    assert content["failed"] is (cls is not None)
    if cls:
        assert "Address already in use" in content["line"] or "address already in use" in content["line"]
        assert content["line"] in content["context"]
        assert content["remedy"]


def test_people_see_cause_place_and_what_to_do() -> None:
    done = CliRunner().invoke(cli, ["diagnose", str(DATA / "kv_kvcachememorybytes100000.log")])
    assert done.exit_code == 1
    assert done.output.startswith("kv_none: weights, activations and adapter slots use the whole memory")
    assert "  > " in done.output
    assert "  - raise --gpu-memory-utilization" in done.output


def test_the_cause_is_shown_whole_without_the_prefix_of_its_line() -> None:
    done = CliRunner().invoke(cli, ["diagnose", str(DATA / "truncated_weights.log")])
    assert done.exit_code == 1
    assert "  > 105: safetensors._safetensors_rust.SafetensorError: Error while\n" in done.output
    assert "deserializing header: incomplete metadata, file not fully covered\n" in done.output
    assert "Worker pid" not in done.output
    assert "the start came as far as: loading the weights" in done.output


def test_an_unknown_failure_is_not_called_healthy() -> None:
    text = "INFO start\nTraceback (most recent call last):\nZeroDivisionError: division by zero\n"
    done = CliRunner().invoke(cli, ["diagnose", "-", "--json"], input=text)
    assert done.exit_code == 3
    assert json.loads(done.stdout)["class"] is None
    assert json.loads(done.stdout)["failed"] is True


def test_a_log_that_is_not_there_is_a_usage_error() -> None:
    done = CliRunner().invoke(cli, ["diagnose", "nowhere.log"])
    assert done.exit_code == 2
    assert "no such file" in done.output


def test_an_empty_log_is_not_called_healthy(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("\n")
    done = CliRunner().invoke(cli, ["diagnose", str(tmp_path / "server.log")])
    assert done.exit_code == 2
