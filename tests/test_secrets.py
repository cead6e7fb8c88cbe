"""Secrets do not reach what is written down: by their shape, by their value, and never by eating ordinary words."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nightlab.events import EventLog
from nightlab.night.journal import Journal
from nightlab.secrets import SHAPES, Redactor, secret_values

KEY = "sk-ant-api03-" + "a1B2" * 8
SAMPLES = {
    "an Anthropic API key": KEY,
    "an OpenAI API key": "sk-proj-" + "a1B2" * 12,
    "a Hugging Face token": "hf_" + "a1B2" * 9,
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "a1B2" * 6,
    "an AWS access key": "AKIA" + "A1B2" * 4,
    "a Google API key": "AIza" + "a1B2" * 8 + "abc",
    "a Slack token": "xoxb-" + "a1B2" * 6,
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\ndef==\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_is_taken_out(kind: str) -> None:
    clean = Redactor({}).text(f"before {SAMPLES[kind]} after")
    assert clean == f"before [redacted: {kind}] after"


def test_values_of_secret_variables() -> None:
    given = {"LAB_TOKEN": "correct-horse", "DB_PASSWORD": 'a"b\\c-1234', "MY_KEY": "xY3$5678", "ANTHROPIC_API_KEY": KEY}
    given |= {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000",
        "SSH_KEY": "/keys/one",
        "A_TOKEN": "short",
        "B_KEY": "disabled",
    }
    assert set(secret_values(given).values()) == {"LAB_TOKEN", "DB_PASSWORD", "MY_KEY", "ANTHROPIC_API_KEY"}
    redactor = Redactor(given)
    assert redactor.text("x correct-horse y") == "x [redacted: the value of $LAB_TOKEN] y"
    inside_json = json.dumps({"p": 'a"b\\c-1234'})
    assert json.loads(redactor.text(inside_json)) == {"p": "[redacted: the value of $DB_PASSWORD]"}
    assert redactor.text("http://127.0.0.1:8000 disabled short") == "http://127.0.0.1:8000 disabled short"


def test_a_value_inside_another_goes_as_a_whole() -> None:
    redactor = Redactor({"A_KEY": "12345678", "B_KEY": "12345678-and-more"})
    assert redactor.text("12345678-and-more") == "[redacted: the value of $B_KEY]"


def test_data_is_redacted_at_any_depth_and_else_untouched() -> None:
    redactor = Redactor({})
    assert redactor.data({"a": [KEY, 1, None, {"b": (KEY,)}]}) == {
        "a": ["[redacted: an Anthropic API key]", 1, None, {"b": ["[redacted: an Anthropic API key]"]}]
    }
    plain = {"a": ["sk-ant-short", "a task-with-a-very-long-name-that-goes-on-and-on-and-on-and-on", 1.5, True]}
    assert redactor.data(plain) == plain


def test_no_secret_is_in_events_or_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SECRET", "correct-horse-battery")
    log, journal = EventLog(tmp_path), Journal(tmp_path)
    heard: list[dict[str, object]] = []
    log.subscribe(heard.append)
    row = log.emit("error", what=f"failed with {KEY}", trace=["correct-horse-battery"])
    assert "redacted" in row["what"]
    assert heard == [row]
    journal.record(
        "toolu_1", "read_file", {"ok": True, "content": json.dumps({"text": f"correct-horse-battery {KEY}"})}
    )
    kept = journal.result("toolu_1")
    assert kept is not None
    written = (tmp_path / "events.jsonl").read_text() + (tmp_path / "calls.jsonl").read_text() + json.dumps(kept)
    assert KEY not in written
    assert "correct-horse" not in written
    journal.close()
    log.close()
    assert Journal(tmp_path).result("toolu_1") == kept


def test_it_is_cheap() -> None:
    """Every event passes here: far less than the fsync that follows."""
    redactor = Redactor({f"K{n}_TOKEN": f"value-{n}-of-it" for n in range(10)})
    row = {
        "call": "toolu_01",
        "tool": "run_sweep",
        "what": "high and low, the rough enough " * 12,
        "n": list(range(20)),
    }
    began = time.process_time()
    for _ in range(1000):
        redactor.data(row)
    assert time.process_time() - began < 0.5
