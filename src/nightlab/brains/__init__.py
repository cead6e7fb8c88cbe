"""Brains: messages and tools in, text and tool calls out, usage counted. Nothing else knows a vendor."""

from nightlab.brains.brain import Brain, Refusal, StopReason, Turn, TurnRequest, Usage
from nightlab.brains.scripted import Scripted, tool_use

__all__ = ["Brain", "Refusal", "Scripted", "StopReason", "Turn", "TurnRequest", "Usage", "tool_use"]
