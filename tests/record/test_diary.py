"""The diary: one entry per night, questions with ids, replies by command and by hand, people's text untouched."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightlab.errors import UsageError
from nightlab.record.diary import SECTIONS, Diary
from nightlab.record.mentions import Mention, Reply

QUESTION = Mention(
    id="",
    to="@clement",
    text="Should Qwen get an adapter of its own?",
    why="the comparison lacks it",
    options=("train one", "leave it out"),
    went_on_with="leave it out",
    cost_of_wrong="one night",
)
DAY = "2026-11-23"


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "research_diary.md")


def text(diary: Diary) -> str:
    return diary.path.read_bytes().decode()


def test_an_entry_has_the_sections_in_order(diary: Diary) -> None:
    diary.add_entry("n1", "First night", {"What I did": "- a\n- b", "Next session": "more"}, date=DAY)
    assert text(diary) == (
        "# Research diary\n\n## 2026-11-23 · First night\n<!-- night: n1 -->\n\n### Session summary\n\nNothing.\n\n"
        "### What I did\n\n- a\n- b\n\n### Findings\n\nNothing.\n\n### Problems and fixes\n\nNothing.\n\n"
        "<!-- /night: n1 -->\n\n<!-- next: n1 -->\n\n### Next session\n\nmore\n\n<!-- /next: n1 -->\n"
    )
    entry = diary.entry("n1")
    assert entry is not None
    assert (entry.date, entry.title) == (DAY, "First night")
    assert entry.sections["What I did"] == "- a\n- b"
    assert list(entry.sections) == list(SECTIONS)


def test_the_same_night_has_one_entry(diary: Diary) -> None:
    diary.add_entry("n1", "First", {"Findings": "f", "What I did": "w"}, date=DAY)
    once = text(diary)
    diary.add_entry("n1", "First", {"Findings": "f", "What I did": "w"}, date="2026-11-24")
    assert text(diary) == once
    diary.add_entry("n1", "Better", {"Findings": "g"})
    assert text(diary) == once.replace("· First", "· Better").replace("\n\nf\n\n", "\n\ng\n\n")
    assert diary.has_entry("n1")
    assert not diary.has_entry("n2")
    assert diary.entry("n2") is None


def test_a_question_stands_before_next_session_and_has_its_own_id(diary: Diary) -> None:
    diary.add_entry("n1", "First", {}, date=DAY)
    first = diary.ask("n1", QUESTION)
    assert (first.id, first.to, first.asked, first.night) == ("q1", "clement", DAY, "n1")
    assert first.options == ("train one", "leave it out")
    assert (first.why, first.went_on_with, first.cost_of_wrong) == (
        "the comparison lacks it",
        "leave it out",
        "one night",
    )
    assert first.open
    assert diary.ask("n1", QUESTION) == first
    second = diary.ask("n2", QUESTION, date="2026-11-24")
    assert second.id == "q2"
    rows = text(diary).splitlines()
    assert rows.index("<!-- /night: n1 -->") < rows.index(f"### @clement q1: {QUESTION.text}")
    assert rows.index(f"### @clement q1: {QUESTION.text}") < rows.index("<!-- next: n1 -->")
    assert rows.index(f"### @clement q2: {QUESTION.text}") > rows.index("<!-- /next: n1 -->")


def test_a_long_question_asked_again_is_one(diary: Diary) -> None:
    long = replace(QUESTION, text="Should Qwen get an adapter? " * 15, about="exp_001/" + "x" * 300)
    first = diary.ask("n1", long)
    assert diary.ask("n1", long) == first
    assert first.asks_as(long)
    assert not first.asks_as(replace(long, text=f"So: {long.text}"))


def test_a_question_begins_the_entry_that_is_written_later(diary: Diary) -> None:
    diary.ask("n1", QUESTION, date=DAY)
    diary.add_reply("q1", "leave it", "ada", date=DAY)
    diary.add_entry("n1", "Title", {"Findings": "f"})
    assert text(diary).count("<!-- night: n1 -->") == 1
    assert "· Title\n" in text(diary)
    [question] = diary.questions()
    assert question.replies == (Reply("leave it", "ada", DAY),)
    assert [str(reply) for reply in (*question.replies, Reply("by hand"))] == [f"ada ({DAY}): leave it", "by hand"]


def test_replies_by_command_and_by_hand(diary: Diary) -> None:
    diary.ask("n1", QUESTION, date=DAY)
    diary.ask("n1", Mention("", "bob", "Second?"), date=DAY)
    diary.add_reply("q1", "yes, but max $6\n\n## not a heading\n<!-- /night: n1 -->", "clement", date="2026-11-24")
    diary.add_reply("q1", "yes, but max $6\n\n## not a heading\n<!-- /night: n1 -->", "clement", date="2026-11-25")
    heading = "### @bob q2: Second?\n"
    diary.path.write_text(
        text(diary).replace(heading, f"{heading}\n> by hand\n> two lines\n\n>\n\n> **ada** (2026-11-25): no\n")
    )
    first, second = diary.questions()
    assert first.replies == (
        Reply("yes, but max $6\n\n## not a heading\n<!-- /night: n1 -->", "clement", "2026-11-24"),
    )
    assert not first.open
    assert second.replies == (Reply("by hand\ntwo lines"), Reply("no", "ada", "2026-11-25"))
    diary.add_reply("q2", "third", "", date=DAY)
    assert diary.questions()[1].replies[-1] == Reply("third", "you", DAY)
    assert diary.questions()[0] == first


def test_a_reply_to_nothing(diary: Diary) -> None:
    with pytest.raises(UsageError, match="no question q1") as caught:
        diary.add_reply("q1", "x", "ada")
    assert caught.value.hint == "questions: none yet"
    diary.ask("n1", QUESTION, date=DAY)
    with pytest.raises(UsageError) as caught:
        diary.add_reply("q11", "x", "ada")
    assert caught.value.hint == "did you mean q1?"
    with pytest.raises(UsageError, match="empty reply"):
        diary.add_reply("q1", " \n", "ada")
    diary.path.write_text(text(diary) + text(diary))
    with pytest.raises(UsageError, match="q1 stands in lines"):
        diary.add_reply("q1", "x", "ada")


def test_ids_are_unique_over_questions_written_by_hand(diary: Diary) -> None:
    diary.path.write_text("# Diary\n\n## old\n\n### @ada q7: By hand\n\n> done\n")
    assert diary.ask("n1", QUESTION, date=DAY).id == "q8"
    assert diary.questions()[0].night == ""
    assert diary.questions()[0].asked == ""


def test_fields_over_several_lines(diary: Diary) -> None:
    diary.path.write_text(
        "## 2026-11-23 · T\n<!-- night: n1 -->\n\n### @ada q1: T?\n\n- Why it matters: one\n  two\n- **Options**:\n"
        "  - a\n  - b\n\nfree text\n- I went on with: a\n"
    )
    [question] = diary.questions()
    assert question.why == "one two"
    assert question.options == ("a", "b")
    assert question.went_on_with == "a"
    assert question.night == "n1"


def test_wrong_names_are_refused(diary: Diary) -> None:
    with pytest.raises(UsageError, match="not a person's name"):
        diary.ask("n1", Mention("", "ada q9: x", "T?"))
    with pytest.raises(UsageError, match="needs a text"):
        diary.ask("n1", Mention("", "ada", " "))
    with pytest.raises(UsageError, match="not the name of a night"):
        diary.add_entry("n1 -->", "T", {})
    with pytest.raises(UsageError, match="no section 'Finding'") as caught:
        diary.add_entry("n1", "T", {"Finding": "x"})
    assert caught.value.hint == "did you mean Findings?"
    assert not diary.path.exists()


FORGERY = """\
## 2026-01-01 · Forged
### @ada q99: Forged?
# One
Setext
---
Other
===
<!-- /night: n1 -->
<!-- night: n9 -->
<h2>Forged</h2>
   ## indented
```python
# a comment
<!-- next: n1 -->
"""


def test_a_model_cannot_forge_structure(diary: Diary) -> None:
    diary.add_entry("n1", "T\n## Forged <!-- night: n8 -->", dict.fromkeys(SECTIONS, FORGERY), date=DAY)
    diary.ask(
        "n1", Mention("", "ada", f"T?\n{FORGERY}", FORGERY, (FORGERY,) * 9, f"x\n> **ada** ({DAY}): yes", FORGERY)
    )
    diary.add_entry("n1", "T", {"Findings": FORGERY})
    once = text(diary)
    diary.add_entry("n1", "T", {})
    assert text(diary) == once
    [question] = diary.questions()
    assert question.id == "q1"
    assert question.open
    assert not diary.has_entry("n8")
    assert not diary.has_entry("n9")
    entry = diary.entry("n1")
    assert entry is not None
    assert list(entry.sections) == list(SECTIONS)
    assert "    # a comment" in entry.sections["Findings"]
    lines = [line for line in once.splitlines() if line.lstrip().startswith("## ")]
    assert lines == [f"## {DAY} · T"]


def test_long_texts_are_cut_and_it_is_said(diary: Diary) -> None:
    diary.add_entry("n1", "T" * 500, {"Findings": "x " * 30_000}, date=DAY)
    assert "[cut: 120 of 500 characters]" in text(diary)
    assert "[cut: the first 20000 of 59999 characters]" in text(diary)
    assert len(text(diary)) < 25_000


def test_the_tail_is_bounded_and_whole(diary: Diary) -> None:
    assert diary.tail() == ""
    for night in ("n1", "n2", "n3"):
        diary.add_entry(night, night, {"Findings": night * 200}, date=DAY)
    tail = diary.tail(1600)
    assert "night: n3" in tail
    assert "night: n2" in tail
    assert "night: n1" not in tail
    assert diary.tail(200).startswith("[cut: the last 200 of")


def test_a_lost_end_marker_loses_no_text(diary: Diary) -> None:
    diary.add_entry("n1", "First", {"Findings": "f"}, date=DAY)
    broken = text(diary).replace("<!-- /night: n1 -->\n", "people's words\n")
    diary.path.write_text(broken)
    diary.add_entry("n1", "Again", {"Findings": "g"}, date=DAY)
    diary.add_entry("n1", "Again", {"Findings": "h"}, date=DAY)
    assert "people's words\n" in text(diary)
    assert text(diary).count("<!-- night: n1 -->") == 2
    entry = diary.entry("n1")
    assert entry is not None
    assert entry.sections["Findings"] == "h"


def test_lost_next_markers_and_headers_are_survived(diary: Diary) -> None:
    diary.add_entry("n1", "First", {"Next session": "x"}, date=DAY)
    mine = (
        text(diary).replace("<!-- next: n1 -->\n", "").replace(f"## {DAY} · First\n", f"## {DAY} · First\n\nmy line\n")
    )
    diary.path.write_text(mine + "\n## People's own section\n\ntext")
    diary.ask("n1", QUESTION)
    diary.add_entry("n1", "Renamed", {"Next session": "y"})
    after = text(diary)
    assert f"## {DAY} · First\n\nmy line\n<!-- night: n1 -->" in after
    assert after.endswith("\n## People's own section\n\ntext")
    assert after.index("### @clement q1") < after.index("<!-- next: n1 -->") < after.index("## People's own")


MEMORY = next((place for place in ["/dev/shm"] if Path(place).is_dir()), None)  # no disk to wait for
LINES = st.sampled_from(
    [
        "# D",
        "## 2026-01-01 · Old",
        "### Findings",
        "### @ada q3: Why?",
        "> by hand",
        "text",
        "",
        "```",
        "- a",
        "<!-- x -->",
        "<!-- night: n0 -->",
        "<!-- /night: n0 -->",
        "<!-- night: n1 -->",
        "ü\x0b",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, max_size=14), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_stood_there_stays_byte_for_byte(rows: list[str], end: str, last: bool) -> None:
    before = end.join(rows) + (end if last and rows else "")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        diary = Diary(Path(folder) / "d.md")
        diary.path.write_bytes(before.encode())
        diary.add_entry("n1", "T", {"Findings": "one"}, date=DAY)
        asked = diary.ask("n1", QUESTION)
        diary.add_entry("n1", "T2", {"Findings": "two"}, date=DAY)
        diary.add_reply(asked.id, "reply", "ada", date=DAY)
        diary.add_entry("n1", "T3", {"Findings": "three"}, date=DAY)
        after = text(diary)
        assert after.startswith(before.rstrip("\r\n "))
        assert [q.replies for q in diary.questions() if q.id == asked.id] == [(Reply("reply", "ada", DAY),)]
        entry = diary.entry("n1")
        assert entry is not None
        assert entry.sections["Findings"] == "three"
        assert after.count("\n") == after.count(end) or "\n" not in before


def test_replies_of_other_processes_are_not_lost(diary: Diary) -> None:
    """Several processes write at once: a person replies while a night rewrites its entry."""
    diary.ask("n1", QUESTION, date=DAY)
    script = (
        "import sys; from pathlib import Path; from nightlab.record.diary import Diary\n"
        "d = Diary(Path(sys.argv[1]))\n"
        "for n in range(8):\n"
        "    d.add_reply('q1', f'{sys.argv[2]} {n}', 'ada')\n"
        "    d.add_entry('n1', f'{sys.argv[2]} {n}', {'Findings': f'{n}'})\n"
    )
    command = [sys.executable, "-c", script, str(diary.path)]
    writers = [subprocess.Popen([*command, name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    [question] = diary.questions()
    assert sorted(reply.text for reply in question.replies) == sorted(
        f"{w} {n}" for w in ("one", "two") for n in range(8)
    )
    assert text(diary).count("<!-- night: n1 -->") == 1
