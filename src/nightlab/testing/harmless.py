"""What people do to a lab without lying: an audit has to stay silent at it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from nightlab.evidence.reproduce import rebuild
from nightlab.judging.invalid import Selection, fields_of
from nightlab.lab import Lab
from nightlab.night.invalidation import invalidate
from nightlab.testing.copies import Copy


def nothing(copy: Copy, random: Random) -> str:
    """Nothing at all."""
    return "untouched"


def own_words(copy: Copy, random: Random) -> str:
    """A person's own paragraph below the diary's entry, with numbers of their own."""
    path = copy.root / "state" / "research_diary.md"
    said = (
        f"\n### A note of mine\n\nI counted {random.randrange(100)} by hand, about {random.uniform(0, 9):.1f} each.\n"
    )
    path.write_text(path.read_text("utf-8") + said, "utf-8")
    return "a note in the diary"


def reply(copy: Copy, random: Random) -> str:
    """An answer to a question, in the diary."""
    path = copy.root / "state" / "research_diary.md"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    at = next((n for n, line in enumerate(lines) if line.startswith("- **Cost of being wrong")), len(lines) - 1)
    lines.insert(at + 1, f"\n> yes, but at most {random.randrange(2, 9)} runs\n")
    path.write_text("".join(lines), "utf-8")
    return "a reply"


def own_ideas(copy: Copy, random: Random) -> str:
    """A line of a person's in the research state."""
    path = copy.root / "state" / "RESEARCH_STATE.md"
    path.write_text(path.read_text("utf-8") + f"\n## Ideas\n\n- try {random.randrange(3, 9)} personas\n", "utf-8")
    return "an idea in the state"


def rebuilt(copy: Copy, random: Random) -> str:
    """Everything made again by reproduce.py."""
    for path in (copy.folder / "figs").glob("*.png"):
        path.unlink()
    rebuild(copy.folder)
    return "made again"


def own_prose(copy: Copy, random: Random) -> str:
    """Prose with a query in the template, and the report compiled."""
    path = copy.folder / "report.md.j2"
    said = "In words: {{ judged() }} of {{ planned() }} cells count."
    path.write_text(path.read_text("utf-8").replace("## Figures", f"{said}\n\n## Figures", 1), "utf-8")
    rebuild(copy.folder)
    return "prose with queries"


def more_files(copy: Copy, random: Random) -> str:
    """Files of a person's own beside the experiment's."""
    (copy.folder / "notes.md").write_text(f"I think it is {random.uniform(0, 9):.1f}.\n", "utf-8")
    (copy.root / f"todo-{random.randrange(9)}.txt").write_text("buy milk\n", "utf-8")
    return "files beside"


def touched(copy: Copy, random: Random) -> str:
    """Files with another time, as a checkout gives them."""
    for path in sorted(copy.folder.rglob("*")):
        if path.is_file():
            path.touch()
    return "other times"


def invalidated(copy: Copy, random: Random) -> str:
    """Rows marked as invalid by the command, which strikes what rested on them."""
    row = random.choice(copy.rows("samples.jsonl"))
    lab = Lab.open(copy.root)
    selection = Selection(fields_of(f"model={row['model']} condition={row['condition']}"), {})
    invalidate(lab, selection, "a server that was not what it seemed", "somebody", experiment=copy.folder.name)
    return f"{selection} invalidated"


HARMLESS: dict[str, Callable[[Copy, Random], str]] = {
    "untouched": nothing,
    "a person's note in the diary": own_words,
    "a reply": reply,
    "a person's idea in the state": own_ideas,
    "made again": rebuilt,
    "prose with queries": own_prose,
    "files beside": more_files,
    "other times": touched,
    "invalidated rows": invalidated,
}
