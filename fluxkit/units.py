"""Bytes, seconds and counts in words, and rows of them in columns."""

from collections.abc import Sequence

GIGABYTE = 10**9
MINUTE, HOUR = 60.0, 3600.0
TWO_DIGITS = 9.5
"""From here on a rounded number has two digits or more."""
THOUSAND = 1000.0


def size_text(count: int) -> str:
    """Bytes in words: `1.5 GB`."""
    if count >= GIGABYTE:
        return f"{count / GIGABYTE:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"  # noqa: PLR2004 - SI units


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 process`, `2 processes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def span(seconds: float) -> str:
    """A duration in words: `40 s`, `12 minutes`, `5.3 hours`."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s" if seconds >= TWO_DIGITS else f"{seconds:.2g} s"
    return f"{seconds / MINUTE:.0f} minutes" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} hours"


def clock(seconds: float) -> str:
    """A duration as on a clock: `0:42`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def amount(value: float) -> str:
    """A number in four digits with an SI prefix: `11.89 G`."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < THOUSAND or prefix == "E":
            break
        value /= THOUSAND
    return f"{value:.4g} {prefix}"


def side_by_side(names: Sequence[str], columns: Sequence[Sequence[str]], width: int) -> list[str]:
    """Columns behind those names, as many beside each other as the width takes, the others below; never none."""
    lines: list[str] = []
    rest = list(columns)
    while rest:
        count = 1
        while count < len(rest) and max(map(len, aligned([*zip(names, *rest[: count + 1], strict=True)]))) <= width:
            count += 1
        lines += [*([""] if lines else []), *aligned([*zip(names, *rest[:count], strict=True)])]
        rest = rest[count:]
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row of cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
