"""Claims of the lab that cannot both hold: each pair is asked about once in the diary, and queued to be replicated."""

from __future__ import annotations

from collections.abc import Sequence

from nightlab.events import EventLog
from nightlab.evidence.cited import short_name
from nightlab.evidence.claims import Claim
from nightlab.evidence.run_claims import RunClaim
from nightlab.lab import Lab
from nightlab.record.diary import Diary
from nightlab.record.mentions import Mention
from nightlab.record.state import ResearchState


def raise_contradictions(
    lab: Lab, night: str, events: EventLog, experiment: str, claims: Sequence[Claim | RunClaim]
) -> list[str]:
    """Ask about each contradiction of an experiment's claims that nobody was asked about yet; the questions' ids.

    The replication goes into the queue as a line of its own, for a person or an agent to plan.
    """
    asked: list[str] = []
    for claim in claims:
        own = f"{short_name(experiment)}/{claim.id}"
        for other in claim.against:
            pair = " and ".join(sorted((own, other.id)))
            if _known(lab, pair):
                continue
            ResearchState(lab.state_file).add_queue(
                "", f"replicate what {pair} disagree about, with new prompts and seeds"
            )
            question = Diary(lab.diary).ask(night, _question(lab, pair, own, claim, other.id, other.sentence, other.n))
            events.emit("question", question=question.id, text=question.text, about=experiment)
            asked.append(question.id)
    return asked


def _known(lab: Lab, pair: str) -> bool:
    """Whether the diary or the queue speaks of a pair already."""
    queued = any(pair in item.text for item in ResearchState(lab.state_file).queue())
    return queued or any(pair in mention.text for mention in Diary(lab.diary).questions())


def _question(lab: Lab, pair: str, own: str, claim: Claim | RunClaim, other: str, sentence: str, n: int) -> Mention:
    return Mention(
        id="",
        to=lab.config.human,
        text=f"{pair} contradict each other. Which of them stands?",
        why=f"{own} (n={claim.n}): {claim.sentence} {other} (n={n}): {sentence}",
        options=("replicate both with new prompts and seeds", f"keep {own}", f"keep {other}", "they differ in scope"),
        went_on_with="both stand side by side wherever they are shown; a replication is queued",
        cost_of_wrong="work that builds on the one that does not hold",
    )
