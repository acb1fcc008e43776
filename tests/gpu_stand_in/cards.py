"""The made-up cards: what their driver says of them.

Names, totals, powers and links are those of the real ones. The reserves are made up, of the size that drivers show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MIB = 1 << 20


@dataclass(frozen=True)
class Card:
    """One kind of GPU."""

    name: str
    """As the driver writes it."""
    memory_mib: int
    reserved_mib: int
    """Of the memory, what the driver keeps to itself: no process can have it, and torch counts it in the total."""
    compute_capability: tuple[int, int]
    power_limit_watts: int
    nvlinks: int | None
    """Links to other GPUs; None where the driver does not know the question."""
    has_ecc: bool = True
    can_divide: bool = False
    """Whether it can be divided into MIG slices."""
    has_application_clocks: bool = False
    slice_name: str = ""
    """Of the half of it that a test's MIG slice is."""

    @property
    def cores(self) -> int:
        return CORES[self.name]

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * MIB

    @property
    def reserved_bytes(self) -> int:
        return self.reserved_mib * MIB


CORES = {
    "NVIDIA H100 80GB HBM3": 16896, "NVIDIA H200": 16896, "NVIDIA A100-SXM4-40GB": 6912, "NVIDIA A100-SXM4-80GB": 6912,
    "NVIDIA A40": 10752, "NVIDIA L40S": 18176, "NVIDIA GeForce RTX 4090": 16384, "Tesla T4": 2560,
    "Tesla V100-SXM2-32GB": 5120,
}  # fmt: skip
CARDS = {
    "H100": Card("NVIDIA H100 80GB HBM3", 81559, 551, (9, 0), 700, 18, can_divide=True, slice_name="3g.40gb"),
    "H200": Card("NVIDIA H200", 143771, 610, (9, 0), 700, 18, can_divide=True, slice_name="3g.71gb"),
    "A100-40": Card("NVIDIA A100-SXM4-40GB", 40960, 418, (8, 0), 400, 12, True, True, True, "3g.20gb"),
    "A100-80": Card("NVIDIA A100-SXM4-80GB", 81920, 645, (8, 0), 400, 12, True, True, True, "3g.40gb"),
    "A40": Card("NVIDIA A40", 46068, 653, (8, 6), 300, 0, has_application_clocks=True),
    "L40S": Card("NVIDIA L40S", 46068, 585, (8, 9), 350, 0),
    "RTX4090": Card("NVIDIA GeForce RTX 4090", 24564, 347, (8, 9), 450, None, has_ecc=False),
    "T4": Card("Tesla T4", 15360, 448, (7, 5), 70, None, has_application_clocks=True),
    "V100": Card("Tesla V100-SXM2-32GB", 32768, 269, (7, 0), 300, 6, has_application_clocks=True),
}


class Installed(NamedTuple):
    """A card in a made-up machine, in its slot."""

    card: Card
    slot: int
    is_closed: bool = False
    """Counted by the driver, but not given to this process, as Slurm does to a job on part of a node."""
    slices: int = 0
    """Above 0 it is divided into so many MIG slices, and no device itself."""

    @property
    def uuid(self) -> str:
        return f"GPU-{self.slot:08d}-1111-2222-3333-444444444444"

    def slice_uuid(self, place: int) -> str:
        return f"MIG-{self.slot:08d}-aaaa-bbbb-cccc-{place:012d}"


def installed(*words: str) -> tuple[Installed, ...]:
    """A machine's cards in a few words: "H100", "!H100" for a closed one, "H100/2" for one of two MIG slices."""
    cards = []
    for slot, word in enumerate(words):
        name, _, slices = word.removeprefix("!").partition("/")
        cards.append(Installed(CARDS[name], slot, is_closed=word.startswith("!"), slices=int(slices or 0)))
    return tuple(cards)
