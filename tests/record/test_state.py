"""RESEARCH_STATE.md: what nights write is found again, and what people wrote stays byte for byte."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nightlab.errors import LabError, UsageError
from nightlab.record.state import QueueItem, ResearchState, Statement

TEXT = """\
# Research state

## Question

Does it?
Really?

## Hypotheses

- H1: early in llama,
  and only there
- **H2**: middle in gemma
- no hypothesis

## Findings

Mine: it works.

## Queue

- [ ] exp_001_phase1_replication: the nine prompts
  with a second line
- [~] `exp_002_b` · more
- [X] exp_003_c
- [-] try a formal persona

```
## Queue
- [ ] exp_004_in_code: no
```

## Notes

- [ ] exp_001_phase1_replication: a note, not the queue
"""


@pytest.fixture
def state(tmp_path: Path) -> ResearchState:
    path = tmp_path / "RESEARCH_STATE.md"
    path.write_text(TEXT)
    return ResearchState(path)


def test_reading(state: ResearchState) -> None:
    assert state.question() == "Does it?\nReally?"
    assert state.hypotheses() == [Statement("H1", "early in llama, and only there"), Statement("H2", "middle in gemma")]
    assert state.queue() == [
        QueueItem("exp_001_phase1_replication", "open", "the nine prompts"),
        QueueItem("exp_002_b", "partial", "more"),
        QueueItem("exp_003_c", "done", ""),
        QueueItem("", "dropped", "try a formal persona"),
    ]
    assert state.findings() == []


@pytest.mark.parametrize("name", ["exp_001_phase1_replication", "exp_001", "exp_1"])
def test_a_status_changes_one_character(state: ResearchState, name: str) -> None:
    assert state.set_queue_status(name, "done")
    text = state.path.read_text()
    assert text == TEXT.replace("- [ ] exp_001", "- [x] exp_001", 1)
    assert state.set_queue_status("exp_001", "open")
    assert state.path.read_text() == TEXT


def test_a_status_of_nothing(state: ResearchState) -> None:
    assert not state.set_queue_status("exp_004_in_code", "done")
    assert not state.set_queue_status("formal persona", "done")
    with pytest.raises(UsageError, match="no status") as caught:
        state.set_queue_status("exp_001", "don")  # type: ignore[arg-type]
    assert caught.value.hint == "did you mean done?"
    assert state.path.read_text() == TEXT


def test_a_new_item_goes_below_the_last(state: ResearchState) -> None:
    assert state.add_queue("exp_005_d", "next <!-- /x -->\n## Forged")
    assert not state.add_queue("exp_005", "again")
    assert state.add_queue("", "an idea")
    assert not state.add_queue("", "an idea")
    added = "- [ ] exp_005_d: next &lt;!-- /x --> ## Forged\n- [ ] an idea\n"
    assert state.path.read_text() == TEXT.replace("formal persona\n", f"formal persona\n{added}")
    assert [item.experiment for item in state.queue()][-2:] == ["exp_005_d", ""]
    with pytest.raises(UsageError, match="not the name of an experiment"):
        state.add_queue("five", "x")


def test_an_item_below_a_last_line_without_an_end(state: ResearchState) -> None:
    state.path.write_bytes(b"## Queue\r\n\r\n- [ ] exp_001_a: x\r\n  more")
    state.add_queue("exp_002_b", "y")
    assert state.path.read_bytes() == b"## Queue\r\n\r\n- [ ] exp_001_a: x\r\n  more\r\n- [ ] exp_002_b: y\r\n"


def test_an_item_in_an_empty_queue(state: ResearchState) -> None:
    state.path.write_text("## Queue\n\nin words\n\n## Notes\n")
    state.add_queue("exp_002_b", "y")
    assert state.path.read_text() == "## Queue\n\nin words\n\n- [ ] exp_002_b: y\n\n## Notes\n"


def test_findings_are_added_by_claim_and_people_s_lines_stay(state: ResearchState) -> None:
    state.set_findings([("exp_001:C1", "one"), ("exp_001:C2", "two")])
    once = state.path.read_text()
    assert once == TEXT.replace(
        "it works.\n",
        "it works.\n\n<!-- nightlab:findings -->\n- `exp_001:C1` one\n"
        "- `exp_001:C2` two\n<!-- /nightlab:findings -->\n",
    )
    state.set_findings([("exp_001:C1", "one"), ("exp_001:C2", "two")])
    assert state.path.read_text() == once
    state.path.write_text(once.replace("- `exp_001:C2`", "by hand\n- `exp_001:C2`"))
    state.set_findings([("exp_001:C1", "better"), ("exp_002:C1", "three <!-- /nightlab:findings -->")])
    assert state.findings() == [
        Statement("exp_001:C1", "better"),
        Statement("exp_001:C2", "two"),
        Statement("exp_002:C1", "three &lt;!-- /nightlab:findings -->"),
    ]
    assert "better\nby hand\n" in state.path.read_text()


def test_verdicts_stand_below_the_hypotheses(state: ResearchState) -> None:
    state.set_verdicts([("H1", "supported"), ("H2", "contradicted")])
    state.set_verdicts([("H2", "undecided")])
    assert state.verdicts() == [Statement("H1", "supported"), Statement("H2", "undecided")]
    assert [h.id for h in state.hypotheses()] == ["H1", "H2"]
    assert "- no hypothesis\n\n<!-- nightlab:verdicts -->\n- `H1` supported\n" in state.path.read_text()


def test_a_stale_marker_never_swallows_people_s_text(state: ResearchState) -> None:
    stale = TEXT.replace("Mine: it works.", "<!-- nightlab:findings -->\nMine: it works.")
    state.path.write_text(stale)
    state.set_findings([("C1", "one")])
    state.set_findings([("C1", "two")])
    assert "Mine: it works.\n" in state.path.read_text()
    assert state.findings() == [Statement("C1", "two")]


def test_a_missing_file_is_begun(tmp_path: Path) -> None:
    state = ResearchState(tmp_path / "state" / "RESEARCH_STATE.md")
    assert (state.question(), state.queue(), state.hypotheses(), state.verdicts()) == ("", [], [], [])
    state.add_queue("exp_001_a", "x")
    state.set_findings([("C1", "one")])
    assert state.path.read_text() == (
        "# Research state\n\n## Queue\n\n- [ ] exp_001_a: x\n\n## Findings\n\n"
        "<!-- nightlab:findings -->\n- `C1` one\n<!-- /nightlab:findings -->\n"
    )


def test_a_file_that_is_not_utf8_is_named(state: ResearchState) -> None:
    state.path.write_bytes(b"## Queue\n\xff")
    with pytest.raises(LabError, match="not UTF-8"):
        state.queue()


MEMORY = next((place for place in ["/dev/shm"] if Path(place).is_dir()), None)  # no disk to wait for
PIECES = st.sampled_from(
    [
        "## Queue",
        "## Findings",
        "## Notes",
        "# X",
        "### y",
        "- [ ] exp_001_a: t",
        "- [x] exp_2",
        "```",
        "~~~",
        "text",
        "",
        "  indented",
        "<!-- nightlab:findings -->",
        "<!-- /nightlab:findings -->",
        "> q",
        "Title\n===",
        "\ufeff",
        "\x0b",
        "ü",
    ]
)
DOCUMENTS = st.builds(
    lambda rows, end, last: (end.join(rows) + (end if last else "")).replace("\n\n", end * 2),
    st.lists(PIECES, max_size=14),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)


def kept(before: str, after: str) -> int:
    """How many characters two texts share at their start and their end together."""
    start = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    rest, other = before[start:][::-1], after[start:][::-1]
    return start + next(
        (n for n, (a, b) in enumerate(zip(rest, other, strict=False)) if a != b), min(len(rest), len(other))
    )


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.text(max_size=30))
@example("## Queue\n```\n", "x")
@example("\n", "")
@example("## Findings\r\n- a\r\n## Queue", "")
@example("<!-- nightlab:findings -->\r\nTitle\n===\r\n<!-- /nightlab:findings -->", "")
def test_every_update_is_an_insertion_or_stays_between_our_markers(text: str, words: str) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        state = ResearchState(Path(folder) / "S.md")
        state.path.write_bytes(text.encode())
        state.add_queue("exp_077_new", "added " + words)
        with_item = state.path.read_bytes().decode()
        assert kept(text, with_item) == len(text)
        state.set_verdicts([("H9", "so " + words)])
        with_verdict = state.path.read_bytes().decode()
        assert kept(with_item, with_verdict) == len(with_item)
        state.set_findings([("NEW", "found " + words)])
        with_finding = state.path.read_bytes().decode()
        assert kept(with_verdict, with_finding) == len(with_verdict)
        assert next(f for f in state.findings() if f.id == "NEW").text.startswith("found")
        state.set_findings([("NEW", "again")])
        again = state.path.read_bytes().decode()
        assert again.count("- `NEW` again") == 1
        assert len(again) - kept(with_finding, again) <= len("again")
        assert [v.id for v in state.verdicts()] == ["H9"]
        assert state.set_queue_status("exp_077", "done")
        assert kept(again, state.path.read_bytes().decode()) == len(again) - 1
