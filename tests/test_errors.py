"""Errors say what, where, and what to do."""

from __future__ import annotations

from nightlab import errors
from nightlab.errors import NightlabError, UsageError, nearest


def test_the_text_of_an_error() -> None:
    assert str(NightlabError("it broke")) == "it broke"
    assert str(UsageError("it broke", where="f:3", hint="mend it")) == "it broke (f:3)\n  mend it"


def test_every_error_stands_in_the_drawn_tree() -> None:
    names = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, NightlabError)}
    assert all(name in (errors.__doc__ or "") for name in names)


def test_exit_codes() -> None:
    assert (NightlabError.exit_code, errors.FrozenError.exit_code, errors.NotSetUp.exit_code) == (1, 2, 4)


def test_nearest() -> None:
    assert nearest("conditons", ["prompts", "conditions"]) == "conditions"
    assert nearest("zzz", ["prompts"]) is None
