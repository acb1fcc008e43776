"""The environment of each run as flat facts, what differs between configurations, and the spec as TOML."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from fluxkit.errors import printable
from fluxkit.text.number_format import MISSING, plain
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxkit.compare.comparison import Row
    from fluxkit.machine.readings import Reading
    from fluxkit.record.result import RunResult
    from fluxkit.spec.run_spec import RunSpec

MOST_VALUES = 3
"""Distinct values that a cell spells out."""
RELEVANCE = (
    r"device\.|rank\.\d+\.device|inference\.attention",
    r"machine\.(nvidia_driver|gpus_|gpu_\d+_(name|memory_bytes|mig_mode|compute_mode|ecc_mode|persistence_mode|power_limit))",
    r"kit\.|package\.|rank\.\d+\.version\.",
    r"execution\.|rank\.\d+\.precision\.|inference\.|plan\.",
    r"machine\.(cpu_|memory_total|memory_limit|container|virtual_machine|power_source|numa)",
    r"machine\.(operating_system|kernel|python_version|machine_architecture|clock_source|tf32)",
)
"""Patterns of keys, from what decides a number to what hardly can."""
NOISE = (
    r"machine\..*(load_average|available_bytes|_used_bytes|free_bytes|pressure_|runnable_threads|stolen_share|temperature"
    r"|throttle|swap_out|utilisation|sm_clock_hertz|foreign_processes|event_reasons|pcie_generation$|power_watts|fan_)"
)
"""Keys of what changes from minute to minute on any machine; the telemetry and the checks watch what matters of it."""


class Differing(BaseModel):
    """A fact that is not the same everywhere."""

    model_config = FROZEN
    key: str
    cells: tuple[str, ...]
    """One per configuration."""


class DifferingGroup(BaseModel):
    """Facts of one kind that are not the same everywhere."""

    model_config = FROZEN
    title: str
    folded: bool
    rows: tuple[Differing, ...]


def facts(result: RunResult) -> dict[str, str]:
    """Everything about the environment of one run, by name, in a fixed order."""
    found: dict[str, str] = {f"kit.{key}": _text(value) for key, value in result.kit.model_dump().items()}
    for place, device in enumerate(result.system.before.devices):
        memory = f", {plain(device.memory_bytes * 2.0**-30)} GiB" if device.memory_bytes is not None else ""
        found[f"device.{place}"] = f"{device.kind}: {device.name}{memory}"
    found |= {f"machine.{key}": _reading(value) for key, value in result.system.before.readings.items()}
    found |= {f"package.{key}": value for key, value in result.system.before.packages.items()}
    execution = result.spec.execution.model_dump(mode="json")
    found |= {f"execution.{key}": _text(value) for key, value in execution.items()}
    found |= {f"plan.{key}": _text(value) for key, value in _planned(result).items()}
    for rank in result.tuning.ranks if result.tuning else ():
        found[f"rank.{rank.rank}.device"] = rank.device_name
        found |= {f"rank.{rank.rank}.precision.{key}": value for key, value in rank.precision.items()}
        found |= {f"rank.{rank.rank}.version.{key}": value for key, value in rank.versions.items()}
    if result.tuning and result.tuning.attention:
        found["tuning.attention"] = result.tuning.attention
    # What another rank has like rank 0 is no fact of its own: it would differ from every run with fewer ranks.
    found = {key: value for key, value in found.items() if not _like_rank_0(key, value, found)}
    if result.inference:
        found |= {f"inference.precision.{key}": value for key, value in result.inference.precision.items()}
        found["inference.attention"] = result.inference.attention
        found["inference.micro_batch_size"] = _text(result.inference.micro_batch_size)
    return {clean(key): clean(value) for key, value in sorted(found.items())}


def _like_rank_0(key: str, value: str, found: Mapping[str, str]) -> bool:
    first = re.sub(r"^rank\.\d+\.", "rank.0.", key)
    return key.startswith("rank.") and first != key and found.get(first) == value


def clean(text: str) -> str:
    """Text without control characters; text that has none, which is nearly all, is not looked at sign by sign."""
    return text if text.isprintable() else printable(text)


def differing(rows: Sequence[Row], runs: Mapping[str, RunResult]) -> tuple[DifferingGroup, ...]:
    """Facts that are not equal in all runs: between the configurations, inside one, and what is never equal."""
    groups: dict[str, list[Differing]] = {"Between configurations": [], "Between runs of one configuration": []}
    noise: list[Differing] = []
    for each, apart in sorted(_differing(rows, runs), key=lambda found: (_place(found[0].key), found[0].key)):
        if re.match(NOISE, each.key):
            noise.append(each)
        else:
            groups["Between configurations" if apart else "Between runs of one configuration"].append(each)
    found = [DifferingGroup(title=title, folded=False, rows=tuple(group)) for title, group in groups.items()]
    found.append(DifferingGroup(title="What changes from minute to minute", folded=True, rows=tuple(noise)))
    return tuple(group for group in found if group.rows)


def _place(key: str) -> int:
    return next((place for place, kind in enumerate(RELEVANCE) if re.match(kind, key)), len(RELEVANCE))


def _differing(rows: Sequence[Row], runs: Mapping[str, RunResult]) -> list[tuple[Differing, bool]]:
    """Facts that are not equal in all runs, and whether configurations differ in them."""
    by_row = [[facts(runs[id_]) for id_ in row.runs if id_ in runs] for row in rows]
    keys = sorted({key for group in by_row for known in group for key in known})
    found = []
    for key in keys:
        values = [[known.get(key, MISSING) for known in group] for group in by_row]
        if len({value for group in values for value in group}) > 1:
            apart = len({tuple(sorted(set(group))) for group in values if group}) > 1
            found.append((Differing(key=key, cells=tuple(_cell(group) for group in values)), apart))
    return found


def spec_toml(spec: RunSpec) -> str:
    """The spec as a TOML file that `fluxkit run` reads; what is not set is left out."""
    values = spec.model_dump(mode="json", by_alias=True)
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for table, content in values.items():
        if isinstance(content, dict):
            lines += [
                "",
                f"[{table}]",
                *(f"{key} = {_toml(each)}" for key, each in content.items() if each is not None),
            ]
    return "\n".join(lines) + "\n"


def _planned(result: RunResult) -> dict[str, Any]:
    return result.plan.model_dump(mode="json", include={"processes", "threads_per_process", "micro_batch_size",
        "accumulation_steps", "inference_micro_batch_size", "device_names"})  # fmt: skip


def _reading(reading: Reading) -> str:
    if reading.value is None:
        return f"unavailable: {reading.unavailable or 'no reason given'}"
    return _text(reading.value)


def _text(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(_text(each) for each in value) if isinstance(value, list) else str(value)


def _cell(values: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(values))
    shown = "; ".join(distinct[:MOST_VALUES])
    more = len(distinct) - MOST_VALUES
    return f"{shown}; {more} more" if more > 0 else shown or MISSING


def _toml(value: Any) -> str:
    """A JSON scalar in TOML; their strings differ only in DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
