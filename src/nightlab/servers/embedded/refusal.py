"""Requests that are refused, with vLLM's status codes and error bodies."""

from __future__ import annotations


class Refusal(Exception):
    """A request answered by an error body; `kind` is vLLM's error type."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.param = status, message, kind, param

    def body(self) -> dict[str, object]:
        """The JSON body vLLM sends."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return {"error": error}


def bad_value(message: str, param: str, value: object) -> Refusal:
    """400 for a parameter out of its range."""
    return Refusal(400, f"{message} (parameter={param}, value={value})", param=param)


def missing_field(name: str, count: int) -> Refusal:
    """400 for a field that is not there, in the words of vLLM's validation."""
    detail = f"{{'type': 'missing', 'loc': 'body.{name}', 'msg': 'Field required', 'input': '<dict of {count} items>'}}"
    return Refusal(400, f"1 validation error:\n  {detail}", "Bad Request", f"body.{name}")


def wrong_type(name: str, expected: str) -> Refusal:
    """400 for a field of the wrong type."""
    detail = f"{{'type': '{expected}_type', 'loc': 'body.{name}', 'msg': 'Input should be a valid {expected}'}}"
    return Refusal(400, f"1 validation error:\n  {detail}", "Bad Request", f"body.{name}")


def unknown_model(name: str, base: str) -> Refusal:
    """404 for a model that is not served."""
    message = f"The model `{name}` does not exist. Valid aliases: {base}."
    return Refusal(404, message, "NotFoundError", "model")
