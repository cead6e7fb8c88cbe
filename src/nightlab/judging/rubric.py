"""Where judging finds its rubric: a plan checks it before anything is asked, so it lives in the room of plans."""

from nightlab.experiments.rubric import Dimension, Marker, Rubric

__all__ = ["Dimension", "Marker", "Rubric"]
