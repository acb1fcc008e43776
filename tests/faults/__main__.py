"""`just faults [PART[=COUNT] …]`: makes things go wrong in numbers, and prints how many tries were lost."""

from __future__ import annotations

import sys
from importlib import import_module

PARTS = ("kills", "pairs")

lost = 0
for word in sys.argv[1:] or PARTS:
    part, _, count = word.partition("=")
    lost += import_module(part).main(*([int(count)] if count else []))
sys.exit(1 if lost else 0)
