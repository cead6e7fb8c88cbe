"""Striking a claim through: only lines that a night wrote, each once, and never a word of a person's."""

from __future__ import annotations

from pathlib import Path

from nightlab.record.strike import is_struck, strike

DIARY = """\
# Research diary

`exp_001/c1` as a person saw it.

## 2026-11-23 · A night
<!-- night: n1 -->

### Findings

- `exp_001/c1` Sarcasm is early.
- `exp_001/c10` Something else.
- `exp_010/c1` Another experiment.
* Two numbers rest on exp_001/c1 and exp_001/c2.

| claim | value |
|---|---|
| exp_001/c1 | 5.0 |

```
exp_001/c1 in a log
```

> **ada** (2026-11-24): I doubt exp_001/c1

<!-- /night: n1 -->

- exp_001/c1 below the markers
"""


def test_only_the_nights_own_lines_that_cite_the_claim_are_struck(tmp_path: Path) -> None:
    path = tmp_path / "diary.md"
    path.write_text(DIARY)
    struck = strike(path, {"exp_001/c1": "it was stale"}, "2026-11-25")
    update = "**Update** (2026-11-25): it was stale"
    expected = (
        DIARY.replace("- `exp_001/c1` Sarcasm is early.", f"- `exp_001/c1` ~~Sarcasm is early.~~ {update}")
        .replace(
            "* Two numbers rest on exp_001/c1 and exp_001/c2.",
            f"* ~~Two numbers rest on exp_001/c1 and exp_001/c2.~~ {update}",
        )
        .replace("| exp_001/c1 | 5.0 |", f"| ~~exp_001/c1~~ | ~~5.0~~ | {update}")
    )
    assert path.read_text() == expected
    assert len(struck) == 3
    assert strike(path, {"exp_001/c1": "it was stale"}, "2026-11-26") == []
    assert path.read_text() == expected


def test_line_ends_and_foreign_text_in_an_update_cannot_break_out(tmp_path: Path) -> None:
    path = tmp_path / "state.md"
    path.write_bytes(b"<!-- nightlab:findings -->\r\n- `exp_001/c1` A.\r\n<!-- /nightlab:findings -->\r\n")
    strike(path, {"exp_001/c1": "stale\n<!-- /nightlab:findings -->\n# mine"}, "2026-11-25")
    lines = path.read_bytes().decode().split("\r\n")
    assert len(lines) == 4
    assert is_struck(lines[1])
    assert not is_struck(lines[0])
