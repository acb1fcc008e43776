"""The environment of each run as flat facts, and what differs between configurations."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fluxkit.compare.comparison import Row
from fluxkit.errors import printable
from fluxkit.machine.readings import Reading
from fluxkit.record.result import RunResult
from fluxkit.text.number_format import MISSING, plain
from fluxkit.values import Frozen

MOST_VALUES = 3
"""Distinct values that a cell spells out."""
RELEVANCE = (
    r"device\.|rank\.\d+\.device|inference\.attention",
    r"machine\.(nvidia_driver|gpus_|gpu_\d+_(name|memory_bytes|mig_mode|compute_mode|ecc_mode|persistence_mode|power_limit))",
    r"kit\.|package\.|rank\.\d+\.version\.",
    r"execution\.|rank\.\d+\.precision\.|inference\.|plan\.",
    r"rank\.\d+\.environment\.",
    r"machine\.(cpu_|memory_total|memory_limit|container|virtual_machine|power_source|numa)",
    r"machine\.(operating_system|kernel|python_version|machine_architecture|clock_source|tf32)",
)
"""Patterns of keys, from what decides a number to what hardly can."""
NOISE = (
    r"machine\..*(load_average|available_bytes|_used_bytes|free_bytes|pressure_|runnable_threads|stolen_share|temperature"
    r"|throttle|swap_out|utilisation|sm_clock_hertz|foreign_processes|screen_|event_reasons|pcie_generation$|power_watts|fan_)"
)
"""Keys of what changes from minute to minute on any machine; the telemetry and the checks watch what matters of it."""
PLANNED = (
    "processes", "threads_per_process", "micro_batch_size", "accumulation_steps", "inference_micro_batch_size",
    "device_names",
)  # fmt: skip
"""Keys of the plan that are facts of the environment."""


class Differing(Frozen):
    """A fact that is not the same everywhere."""

    key: str
    cells: tuple[str, ...]
    """One per configuration."""


class DifferingGroup(Frozen):
    """Facts of one kind that are not the same everywhere."""

    title: str
    folded: bool
    rows: tuple[Differing, ...]


def facts(result: RunResult) -> dict[str, str]:
    """Everything about the environment of one run, by name, in a fixed order."""
    before, tuning, inference = result.system.before, result.tuning, result.inference
    known = (
        _texts("kit", result.kit.model_dump())
        | _texts("machine", before.readings)
        | _texts("package", before.packages)
        | _texts("execution", result.spec.execution.model_dump(mode="json"))
        | _texts("plan", result.plan.model_dump(mode="json", include=set(PLANNED)))
    )
    for place, device in enumerate(before.devices):
        memory = f", {plain(device.memory_bytes * 2.0**-30)} GiB" if device.memory_bytes is not None else ""
        known[f"device.{place}"] = f"{device.kind}: {device.name}{memory}"
    for rank in tuning.ranks if tuning else ():
        name = f"rank.{rank.rank}"
        known |= _texts(f"{name}.precision", rank.precision) | _texts(f"{name}.version", rank.versions)
        known |= _texts(f"{name}.environment", rank.environment or {})
        known[f"{name}.device"] = rank.device_name
    # What another rank has like rank 0 is no fact of its own: it would differ from every run with fewer ranks.
    rank_0 = {key: re.sub(r"^rank\.\d+\.", "rank.0.", key) for key in known}
    known = {key: value for key, value in known.items() if rank_0[key] == key or known.get(rank_0[key]) != value}
    if tuning and tuning.attention:
        known["tuning.attention"] = tuning.attention
    if inference:
        known |= _texts("inference.precision", inference.precision)
        known["inference.attention"] = inference.attention
        known["inference.micro_batch_size"] = str(inference.micro_batch_size)
    return {printable(key): printable(value) for key, value in sorted(known.items())}


def differing(rows: Sequence[Row], runs: Mapping[str, RunResult]) -> tuple[DifferingGroup, ...]:
    """Facts that are not equal in all runs: between the configurations, inside one, and what is never equal."""
    apart: list[Differing] = []
    inside: list[Differing] = []
    noise: list[Differing] = []
    by_row = [[facts(runs[id_]) for id_ in row.runs if id_ in runs] for row in rows]
    keys = {key for known_of_row in by_row for known in known_of_row for key in known}
    for key in sorted(keys, key=lambda key: (_relevance(key), key)):
        values = [[known.get(key, MISSING) for known in known_of_row] for known_of_row in by_row]
        if len({value for of_row in values for value in of_row}) > 1:
            sets = {tuple(sorted(set(of_row))) for of_row in values if of_row}
            group = noise if re.match(NOISE, key) else apart if len(sets) > 1 else inside
            group.append(Differing(key=key, cells=tuple(map(_cell, values))))
    groups = (
        DifferingGroup(title="Between configurations", folded=False, rows=tuple(apart)),
        DifferingGroup(title="Between runs of one configuration", folded=False, rows=tuple(inside)),
        DifferingGroup(title="What changes from minute to minute", folded=True, rows=tuple(noise)),
    )
    return tuple(group for group in groups if group.rows)


def _relevance(key: str) -> int:
    return next((place for place, pattern in enumerate(RELEVANCE) if re.match(pattern, key)), len(RELEVANCE))


def _texts(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {f"{name}.{key}": _text(value) for key, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, Reading):
        return f"unavailable: {value.unavailable or 'no reason given'}" if value.value is None else _text(value.value)
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _cell(values: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(values))
    shown = "; ".join(distinct[:MOST_VALUES])
    more = len(distinct) - MOST_VALUES
    return f"{shown}; {more} more" if more > 0 else shown or MISSING
