"""`python -m fluxkit`: the command line."""

from fluxkit.cli import main

main()
