"""The documents people read and answer, and the git history."""
