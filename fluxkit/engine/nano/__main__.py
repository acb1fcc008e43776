"""`python -m fluxkit.engine.nano --out FOLDER` makes the embedded model again: minutes on two cores."""

import argparse
from pathlib import Path

from fluxkit.engine.nano.recipe import make

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m fluxkit.engine.nano", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; an existing one is replaced")
    make(parser.parse_args().out)
