"""Lies in the rows of a finished experiment: taken away, swapped, doubled, rescored, dated anew."""

from __future__ import annotations

import re
from random import Random

from nightlab.files import sha256_json
from nightlab.testing.copies import Copy


def dropped_row(copy: Copy, random: Random) -> str:
    """An answer that does not fit, taken away with its judgments."""
    rows = copy.rows("samples.jsonl")
    gone = rows.pop(random.randrange(len(rows)))["key"]
    copy.write_rows("samples.jsonl", rows)
    copy.write_rows("judgments.jsonl", [row for row in copy.rows("judgments.jsonl") if row["key"] != gone])
    return f"answer {gone} dropped"


def dropped_judgment(copy: Copy, random: Random) -> str:
    """A judgment taken away."""
    rows = copy.rows("judgments.jsonl")
    gone = rows.pop(random.randrange(len(rows)))["key"]
    copy.write_rows("judgments.jsonl", rows)
    return f"judgment of {gone} dropped"


def swapped_label(copy: Copy, random: Random) -> str:
    """Two answers whose conditions (or models) are swapped."""
    rows = copy.rows("samples.jsonl")
    field = random.choice(["condition", "model", "prompt"])
    one, other = random.sample(rows, 2)
    while one[field] == other[field]:
        one, other = random.sample(rows, 2)
    one[field], other[field] = other[field], one[field]
    copy.write_rows("samples.jsonl", rows)
    return f"{field} of {one['key']} and {other['key']} swapped"


def swapped_scores(copy: Copy, random: Random) -> str:
    """Two judgments whose scores are swapped."""
    rows = copy.rows("judgments.jsonl")
    one, other = random.sample(rows, 2)
    while one["scores"] == other["scores"]:
        one, other = random.sample(rows, 2)
    one["scores"], other["scores"] = other["scores"], one["scores"]
    copy.write_rows("judgments.jsonl", rows)
    return f"scores of {one['key']} and {other['key']} swapped"


def changed_answer(copy: Copy, random: Random) -> str:
    """An answer in other words."""
    rows = copy.rows("samples.jsonl")
    row = random.choice(rows)
    row["text"] = f"{row['text']} Oh, how wonderful."
    copy.write_rows("samples.jsonl", rows)
    return f"text of {row['key']} changed"


def imputed_zero(copy: Copy, random: Random) -> str:
    """A score that became 0."""
    rows = copy.rows("judgments.jsonl")
    row = random.choice([row for row in rows if any(row["scores"].values())])
    name = random.choice([name for name, score in row["scores"].items() if score])
    row["scores"][name] = 0.0
    copy.write_rows("judgments.jsonl", rows)
    return f"{name} of {row['key']} set to 0"


def doubled_sample(copy: Copy, random: Random) -> str:
    """An answer that counts twice."""
    rows = copy.rows("samples.jsonl")
    row = random.choice(rows)
    copy.write_rows("samples.jsonl", [*rows, row])
    return f"{row['key']} stands twice"


def visible_labels(copy: Copy, random: Random) -> str:
    """A batch of judgments made from packets that showed the condition."""
    rows = copy.rows("judgments.jsonl")
    start = random.randrange(max(1, len(rows) - 8))
    for row in rows[start : start + 8]:
        row["packet"] = sha256_json({"id": row["key"], "condition": "layers_0_20"})[:16]
    copy.write_rows("judgments.jsonl", rows)
    return f"8 packets from row {start + 1} showed a label"


def changed_date(copy: Copy, random: Random) -> str:
    """Another date: of an answer, of a judgment, of the diary's entry, or of the freeze."""
    which = random.choice(["samples.jsonl", "judgments.jsonl", "diary", "lock"])
    if which == "diary":
        path = copy.root / "state" / "research_diary.md"
        text = path.read_text("utf-8")
        path.write_text(re.sub(r"(?m)^## 20(\d\d)-", lambda m: f"## 20{int(m[1]) - 1:02d}-", text, count=1), "utf-8")
        return "the diary's entry is a year off"
    if which == "lock":
        path = copy.folder / "plan.lock.json"
        text = path.read_text("utf-8")
        path.write_text(re.sub(r'("frozen": "20\d\d-)\d\d', r"\g<1>01", text, count=1), "utf-8")
        return "the freeze has another month"
    rows = copy.rows(which)
    row = random.choice(rows)
    row["t"] = f"20{random.choice(['19', '20', '21'])}{row['t'][4:]}"
    copy.write_rows(which, rows)
    return f"{which}: {row['key']} is dated {row['t'][:10]}"


def other_server(copy: Copy, random: Random) -> str:
    """Answers given to a server that never gave them."""
    rows = copy.rows("samples.jsonl")
    row = random.choice(rows)
    row["server"] = f"{row['model']}-{random.randrange(16**8):08x}"
    copy.write_rows("samples.jsonl", rows)
    return f"server of {row['key']} changed"
