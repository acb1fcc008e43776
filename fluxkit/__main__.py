"""`python -m fluxkit`: the command line."""

from fluxkit.cli.app import main

main()
