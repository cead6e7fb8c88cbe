"""Lies told to a finished experiment, one class each: what a careless or a convinced hand does to rows, plan, prose,
tables, figures, judgments and dates after the fact. And harmless changes, at which an audit has to stay silent.

Each is a function of a lab's copy, its experiment and a random source; it changes files and says what it did. The
record and the history are left alone: who changes those too is not caught by files, and `nightlab audit` says so.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

from nightlab.files import sha256_json
from nightlab.testing import corrupted_rows
from nightlab.testing.copies import Copy


def _changed_digit(path: Path, random: Random, where: str = r"\d\.\d") -> str:
    text = path.read_text("utf-8")
    found = random.choice(list(re.finditer(where, text)))
    at = random.choice([found.start() + n for n, letter in enumerate(found[0]) if letter.isdigit()])
    digit = random.choice([d for d in "0123456789" if d != text[at]])
    path.write_text(text[:at] + digit + text[at + 1 :], "utf-8")
    return f"{path.name}: {found[0]!r} has another digit"


def digit_in_prose(copy: Copy, random: Random) -> str:
    """A digit in the report."""
    return _changed_digit(copy.folder / "report.md", random)


def digit_in_diary(copy: Copy, random: Random) -> str:
    """A digit in what a night wrote into the diary."""
    return _changed_digit(copy.root / "state" / "research_diary.md", random, r"\d+ of \d+|\d\.\d \[")


def digit_in_state(copy: Copy, random: Random) -> str:
    """A digit in a finding or verdict of the research state."""
    return _changed_digit(copy.root / "state" / "RESEARCH_STATE.md", random, r"\d\.\d \[|least \d\.\d")


def typed_number(copy: Copy, random: Random) -> str:
    """A sentence with a number of somebody's own in the report's template."""
    path = copy.folder / "report.md.j2"
    typed = f"{random.uniform(0, 10):.1f}"
    text = path.read_text("utf-8")
    path.write_text(text.replace("## Figures", f"Its mean is {typed}.\n\n## Figures", 1), "utf-8")
    return f"report.md.j2: {typed} typed"


def typed_table_value(copy: Copy, random: Random) -> str:
    """Another mean in a table."""
    name = random.choice(["tables/means.csv", "tables/categories.csv", "tables/verdicts.csv", "tables/counts.csv"])
    return _changed_digit(copy.folder / name, random, r",\d+(\.\d+)?")


def typed_figure_value(copy: Copy, random: Random) -> str:
    """Another number in the csv behind a figure."""
    name = random.choice([path.name for path in sorted((copy.folder / "figs").glob("*.csv"))])
    return _changed_digit(copy.folder / "figs" / name, random, r",\d+\.\d+")


def pooled_factor(copy: Copy, random: Random) -> str:
    """A table in which the rows of two models became one."""
    name = random.choice(["tables/means.csv", "figs/fig1_layers.csv"])
    header, rows = copy.table(name)
    model = header.index("model")
    first, second = random.sample(sorted({row[model] for row in rows}), 2)
    kept = [[f"{first}+{second}" if cell == first else cell for cell in row] for row in rows if row[model] != second]
    copy.write_table(name, header, kept)
    return f"{name}: {first} and {second} pooled"


def pooled_query(copy: Copy, random: Random) -> str:
    """A mean over all models that the template does not call one."""
    path = copy.folder / "report.md.j2"
    condition = random.choice(copy.rows("samples.jsonl"))["condition"]
    said = f'The mean is {{{{ mean("sarcasm", condition="{condition}") }}}}.'
    text = path.read_text("utf-8")
    path.write_text(text.replace("## Figures", f"{said}\n\n## Figures", 1), "utf-8")
    return f"pooled over models at {condition}"


def stale_figure(copy: Copy, random: Random) -> str:
    """A picture of other numbers: that of another figure under this one's name."""
    kind = random.choice(["png", "pdf"])
    one, other = random.sample(sorted((copy.folder / "figs").glob(f"*.{kind}")), 2)
    one.write_bytes(other.read_bytes())
    return f"{one.name} is {other.name}"


def painted_figure(copy: Copy, random: Random) -> str:
    """A picture painted over: other pixels under the same marks."""
    path = random.choice(sorted((copy.folder / "figs").glob("*.png")))
    data, at, chunks = path.read_bytes(), 8, [b"\x89PNG\r\n\x1a\n"]
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IDAT" and len(chunks) < 8:
            pixels = bytearray(zlib.decompress(body)) if data.count(b"IDAT") == 1 else None
            if pixels is not None:
                pixels[random.randrange(len(pixels))] ^= 1
                body = zlib.compress(bytes(pixels))
            else:
                body = bytes([body[0], body[1] ^ 1, *body[2:]])
        chunks.append(struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body)))
        at += 12 + size
    path.write_bytes(b"".join(chunks))
    return f"{path.name} painted over"


def edited_plan(copy: Copy, random: Random) -> str:
    """A prediction that was changed when the data were known, in the plan or in its lock with a fitting hash."""
    lock = copy.folder / "plan.lock.json"
    if random.random() < 0.5:
        path = copy.folder / "config.yaml"
        text = path.read_text("utf-8")
        ranges = re.findall(r"expect: *(layers_\d+_\d+)", text)
        old = random.choice(ranges) if ranges else "layers_0_20"
        path.write_text(re.sub(rf"(expect: *){old}", r"\1layers_80_100", text, count=1), "utf-8")
        return f"config.yaml: expect {old} changed"
    document = json.loads(lock.read_text("utf-8"))
    prediction = random.choice(document["document"]["plan"]["hypotheses"])
    prediction["statement"] = f"{prediction['statement']}, as we always said"
    document["sha256"] = sha256_json(document["document"])
    lock.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return f"plan.lock.json: {prediction['id']} changed, hash made anew"


def edited_rubric(copy: Copy, random: Random) -> str:
    """A rubric that was changed after the judging."""
    path = copy.folder / "rubric.md"
    path.write_text(path.read_text("utf-8") + f"\nBe generous ({random.randrange(100)}).\n", "utf-8")
    return "rubric.md changed"


STRONGER = (
    ("supported", "proven"),
    ("undecided", "supported"),
    ("is highest in", "is only in"),
    ("next, lower by", "far behind, lower by"),
    ("confirmatory", "proven"),
    ("at least", "exactly"),
    ("does not peak", "peaks"),
    ("spread over all ranges", "the same in all ranges"),
)


def stronger_word(copy: Copy, random: Random) -> str:
    """A claim in a stronger word: in the report, in claims.yaml, in the diary or in the research state."""
    state = copy.root / "state"
    places = [copy.folder / "report.md", copy.folder / "claims.yaml", state / "RESEARCH_STATE.md"]
    texts = [(path, path.read_text("utf-8")) for path in places if path.is_file()]
    choices = [(p, text, old, new) for p, text in texts for old, new in STRONGER if old in text]
    path, text, old, new = random.choice(choices)
    at = random.choice([found.start() for found in re.finditer(re.escape(old), text)])
    path.write_text(text[:at] + new + text[at + len(old) :], "utf-8")
    return f"{path.name}: {old!r} became {new!r}"


def dropped_caveat(copy: Copy, random: Random) -> str:
    """A caveat or deviation taken out of the report."""
    path = copy.folder / "report.md"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    start = lines.index("## Caveats\n")
    chosen = random.choice([n for n in range(start, len(lines)) if lines[n].startswith("- ")])
    gone = lines.pop(chosen)
    path.write_text("".join(lines), "utf-8")
    return f"report.md: dropped {gone[:60].strip()!r}"


CORRUPTIONS: dict[str, Callable[[Copy, Random], str]] = {
    "digit in the report": digit_in_prose,
    "digit in the diary": digit_in_diary,
    "digit in the state": digit_in_state,
    "number typed into the template": typed_number,
    "table value typed": typed_table_value,
    "figure value typed": typed_figure_value,
    "dropped row": corrupted_rows.dropped_row,
    "dropped judgment": corrupted_rows.dropped_judgment,
    "swapped label": corrupted_rows.swapped_label,
    "swapped scores": corrupted_rows.swapped_scores,
    "changed answer": corrupted_rows.changed_answer,
    "imputed zero": corrupted_rows.imputed_zero,
    "doubled sample": corrupted_rows.doubled_sample,
    "labels visible to the judge": corrupted_rows.visible_labels,
    "pooled factor in a table": pooled_factor,
    "pooled factor in the template": pooled_query,
    "stale figure": stale_figure,
    "painted figure": painted_figure,
    "edited plan": edited_plan,
    "edited rubric": edited_rubric,
    "claim word strengthened": stronger_word,
    "dropped caveat": dropped_caveat,
    "changed date": corrupted_rows.changed_date,
    "other server": corrupted_rows.other_server,
}
