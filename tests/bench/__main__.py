"""`just bench [NAME ...]`: measures what the modules beside this one compare, and adds it to the machine's file."""

import argparse
import importlib
import pkgutil
import re
import sys
from dataclasses import replace
from pathlib import Path

import bench
from bench.pairs import PAIRS, Options, Row, load_average, machine_conditions, write_rows

REPORTS = Path(__file__).resolve().parents[2] / "reports" / "bench"
FRAME = {"__main__", "pairs"}


def main() -> int:
    """Measures the comparisons that were named, else all; 1 where one misses what it states as its target."""
    names = sorted({module.name for module in pkgutil.iter_modules(bench.__path__)} - FRAME)
    arguments = _parse(names)
    options = Options(arguments.pairs, arguments.clock, arguments.threads, arguments.script)
    conditions = machine_conditions(options)
    machine = arguments.machine or _slug(f"{conditions['machine']}-{conditions['cores']:g}-cores")
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    missed = 0
    for name in arguments.names or names:
        before = load_average()
        measured = importlib.import_module(f"bench.{name}").rows(options)
        stated = {**conditions, "load_average_before": before, "load_average_after": load_average()}
        rows = [replace(row, conditions={**stated, **row.conditions}) for row in measured]
        write_rows(REPORTS / f"{machine}.json", rows)
        sys.stdout.write("".join(f"{_line(row)}\n" for row in rows))
        sys.stdout.flush()
        missed += sum(not row.met for row in rows)
    return int(missed > 0)


def _parse(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names) + "; else all")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of turns (%(default)s)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that others use")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its own choice")
    parser.add_argument("--script", type=Path, help="diffusers' train_dreambooth_lora_flux.py")
    parser.add_argument("--machine", help="file under reports/bench/; else by the processor")
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.names} - {*names}):
        parser.error(f"there is no {unknown[0]}; there are: {', '.join(names)}")
    return arguments


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _line(row: Row) -> str:
    if row.ratio is None:
        return f"{row.id}: {row.against}"
    spread = f" [{row.low:.3f}, {row.high:.3f}], {row.pairs} pairs" if row.low is not None else ""
    missed = "" if row.met else f"; missed: {row.target}"
    return f"{row.id}: {row.against}: {row.ratio:.4g}{spread}{missed}"


if __name__ == "__main__":
    sys.exit(main())
