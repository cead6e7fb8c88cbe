"""nightlab: unattended research nights that survive and do not lie."""

__version__ = "0.1.0"
