"""`python -m nightlab`: the same as the `nightlab` command."""

from nightlab.cli import main

main()
