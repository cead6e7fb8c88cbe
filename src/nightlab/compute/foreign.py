"""A place of one's own: a function in one file, or in an installed module, that takes the lab and returns a Place."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from nightlab.compute.place import Place
from nightlab.errors import ConfigError
from nightlab.files import sha256_text
from nightlab.lab import Lab


def foreign_place(lab: Lab, name: str) -> Place:
    """The place that `FILE.py:NAME` (relative to the lab) or `MODULE:NAME` makes. Raises ConfigError."""
    module, _, function = name.rpartition(":")
    try:
        loaded = _from_file(lab, module) if module.endswith(".py") else importlib.import_module(module)
        place: Place = getattr(loaded, function)(lab)
    except (ImportError, OSError, SyntaxError, AttributeError, TypeError) as error:
        hint = 'place = "FILE.py:NAME": a function that takes the lab and returns a place; see the guide on places'
        raise ConfigError(f"the place {name!r} cannot be made: {error}", where="place", hint=hint) from error
    if place.name != name:
        raise ConfigError(f"the place {name!r} calls itself {place.name!r}", where="place", hint=f'name = "{name}"')
    return place


def _from_file(lab: Lab, name: str) -> ModuleType:
    path = (lab.root / name).resolve()
    spec = importlib.util.spec_from_file_location(f"nightlab_place_{sha256_text(str(path))[:10]}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
