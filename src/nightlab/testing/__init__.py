"""Public doubles for the tests of labs and tools built on nightlab: each speaks the real protocol over real HTTP."""

from nightlab.testing.faults import Fault
from nightlab.testing.faulty_server import FaultyServer, Seen
from nightlab.testing.judges import judging
from nightlab.testing.messages_api import FakeMessagesAPI
from nightlab.testing.messages_models import Model
from nightlab.testing.messages_script import Entry, Fail, Say, overloaded, refusal, usage_limit

__all__ = [
    "Entry",
    "Fail",
    "FakeMessagesAPI",
    "Fault",
    "FaultyServer",
    "Model",
    "Say",
    "Seen",
    "judging",
    "overloaded",
    "refusal",
    "usage_limit",
]
