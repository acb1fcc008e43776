"""`just faults [PART[=COUNT] …]`: makes things go wrong in numbers, and prints how many tries were lost.

A part is a module beside this one with `main(count)`, which prints its table and gives how many were lost.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
import_module("heard_signals").hear_every_signal()

lost = 0
for word in sys.argv[1:] or sorted(file.stem for file in HERE.glob("[!_]*.py")):
    part, _, count = word.partition("=")
    lost += import_module(part).main(*([int(count)] if count else []))
sys.exit(1 if lost else 0)
