"""Public doubles for the tests of labs and tools built on nightlab: each speaks the real protocol over real HTTP."""

from nightlab.testing.faults import Fault
from nightlab.testing.faulty_server import FaultyServer, Seen

__all__ = ["Fault", "FaultyServer", "Seen"]
