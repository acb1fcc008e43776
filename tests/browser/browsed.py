"""A study of three priced machines, its page, and what is read from it in a browser."""

from __future__ import annotations

import builders
from pages import written


def energy(joules):
    """Energy of a run with its two timed phases."""
    phases = [
        {"phase": phase, "joules_gross": joules, "joules_net": None, "seconds": 60.0} for phase in ("tune", "inference")
    ]
    return {"class": "measured", "joules_gross": 3 * joules, "source": "counter", "seconds": 180.0, "phases": phases}


def canary(repeat):
    """The machine a little slower after each phase."""
    rates = {"before": 2e11, "after": 1.9e11 - 1e9 * repeat}
    return [
        {
            "phase": phase, "when": when, "precision": "ieee_float32", "matmul_size": 1024,
            "matmul_flops_per_second": rate, "copy_bytes_per_second": rate / 10,
        }
        for phase in ("tune", "inference")
        for when, rate in rates.items()
    ]  # fmt: skip


def study(hour, kwh):
    """Three priced configurations, one of them without energy, three runs of each."""
    runs = []
    for place, precision in enumerate(("float32", "bfloat16", "float32")):
        label = f"Machine {'ABC'[place]}"
        asked = builders.spec(
            name=f"nano-{place}",
            execution={"precision": precision, "threads": place},
            hardware={"label": label, "usd_per_hour": hour[place], "usd_per_kwh": kwh[place]},
        )
        for repeat in range(3):
            seconds = tuple((0.08 + 0.03 * place) * (1 + 0.01 * ((7 * step + repeat) % 5)) for step in range(220))
            measured = energy(1500.0 + 400 * place + 30 * repeat) if place < 2 else None
            runs.append(
                builders.result(
                    of=asked, repeat=repeat, iteration_seconds=seconds, psnr_gain=9.0 - place,
                    energy=measured, canary=canary(repeat),
                )
            )  # fmt: skip
    return [*runs, builders.failed(of=runs[0].spec)]


HERE, THERE = ((0.5, 2.0, 1.0), (0.3, 0.0, 0.3)), ((4.0, 1.25, 0.75), (0.1, 0.45, 0.0))


def priced_page(folder, prices):
    """A page of the study at such prices, with pictures beside it."""
    for result in study(*prices):
        builders.run_folder(folder / result.id, result, side=24)
    written(folder, folder / "index.html")
    return folder / "index.html"


def column(page, place):
    """Texts of a headline column from top to bottom."""
    return page.locator(f"#w1-numbers tbody tr:visible > :nth-child({place})").all_inner_texts()
