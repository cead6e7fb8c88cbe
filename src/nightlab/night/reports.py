"""What a sub-agent hands in: one checked form for each kind of work, so that code and models can build on it.

A form is bounded, and its references (experiment, verdicts) must exist: a report of something that is not there is
refused with the reason, and the sub-agent hands in another one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightlab.agents import AgentSpec
from nightlab.errors import NightlabError
from nightlab.evidence.cited import verdicts_of
from nightlab.lab import Lab
from nightlab.tool_signature import without_titles
from nightlab.toolbox import ToolFailure

Line = Annotated[str, Field(min_length=1, max_length=600)]
Words = Annotated[str, Field(min_length=1, max_length=2000)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class ExperimentReport(_Form):
    """One experiment: what was done, the verdicts it reached, and what is open."""

    experiment: Annotated[str, Field(description="The experiment's name.")]
    done: Annotated[Words, Field(description="What was done, in a few sentences; what was not, too.")]
    verdicts: Annotated[
        list[Line],
        Field(max_length=30, description="Ids of the verdicts, such as exp_001/H1; none before an analysis."),
    ]
    open_problems: Annotated[
        list[Line], Field(max_length=20, description="What is missing or doubtful, each with why.")
    ]


class Attempt(_Form):
    """Something that was tried, and what came of it."""

    what: Line
    outcome: Line


class DiagnosisReport(_Form):
    """Why something failed, what mends it, and what was tried."""

    failure: Annotated[str | None, Field(max_length=80, description="The class that diagnose names; null: a new one.")]
    cause: Annotated[Words, Field(description="The root cause, and the evidence for it.")]
    remedy: Annotated[
        Words, Field(description="What to do next, as calls where there are some; or that nothing helps.")
    ]
    mended: Annotated[bool, Field(description="Whether a remedy that you tried has solved it.")]
    tried: Annotated[list[Attempt], Field(max_length=20, description="What you tried, with its outcome.")]


class Finding(_Form):
    """One thing that a fresh eye saw."""

    what: Annotated[Line, Field(description="What is wrong or doubtful, in a sentence or two.")]
    where: Annotated[Line, Field(description="The file, and the line or the passage.")]
    weight: Annotated[
        Literal["blocks", "weakens", "minor"],
        Field(description="blocks: the conclusion falls with it; weakens: it needs a caveat or a control; minor."),
    ]


class FindingsReport(_Form):
    """What fresh eyes saw in the files they were given."""

    findings: Annotated[
        list[Finding], Field(max_length=30, description="The gravest first; empty where there is none.")
    ]
    answer: Annotated[Words, Field(description="The answer to what the brief asks, in a few sentences.")]


FORMS: dict[str, type[_Form]] = {
    "experiment": ExperimentReport,
    "diagnosis": DiagnosisReport,
    "findings": FindingsReport,
}


def checked(lab: Lab, agent: AgentSpec, report: dict[str, Any]) -> dict[str, Any]:
    """A report that fits its agent's form, as data. Raises ToolFailure with what does not fit."""
    if not agent.returns:
        raise ToolFailure("nobody_asked", f"{agent.name} works for no other agent", "go on with your own work")
    try:
        form = FORMS[agent.returns].model_validate(report)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(["report", *map(str, first["loc"])])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ToolFailure("bad_report", f"{place}: {first['msg']}{more}", "hand it in again, in the form") from error
    if isinstance(form, ExperimentReport):
        form.experiment = _known_verdicts(lab, form)
    return form.model_dump()


def schema(agent: AgentSpec) -> dict[str, Any]:
    """The JSON schema of an agent's report, without references outside itself."""
    whole = without_titles(FORMS[agent.returns].model_json_schema())
    definitions = whole.pop("$defs", {})
    inlined = _inline(whole, definitions)
    assert isinstance(inlined, dict)
    return inlined


def _known_verdicts(lab: Lab, form: ExperimentReport) -> str:
    try:
        name = lab.experiment(form.experiment).name
    except NightlabError as error:
        raise ToolFailure("bad_report", error.what, error.hint or "name the experiment you worked on") from error
    known = [verdict for verdict, _ in verdicts_of(lab, name)]
    if unknown := [verdict for verdict in form.verdicts if verdict not in known]:
        has = ", ".join(known) or "none: it was not analysed"
        raise ToolFailure("bad_report", f"{name} has no verdict {unknown[0]!r}", f"it has {has}")
    return name


def _inline(value: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            named = definitions[str(value["$ref"]).rsplit("/", 1)[1]]
            return _inline({**named, **{k: v for k, v in value.items() if k != "$ref"}}, definitions)
        return {key: _inline(inner, definitions) for key, inner in value.items()}
    return [_inline(item, definitions) for item in value] if isinstance(value, list) else value
