"""Making a lab: a new one, an existing repository completed to one, and the demo lab with its two staged troubles."""

from nightlab.founding.demo_lab import Demo, demo, held, summary
from nightlab.founding.making import Survey, check_identity, enclosing_lab, git, init, survey

__all__ = ["Demo", "Survey", "check_identity", "demo", "enclosing_lab", "git", "held", "init", "summary", "survey"]
