"""Whether precision switches, as a backend reads them back, are those of a named precision."""

from collections.abc import Mapping

REDUCED = ("tf32", "bf16", "bfloat16", "fp16", "float16")
# Source: PyTorch notes on numerical accuracy. "high" lets float32 products use TF32 or three bfloat16 passes, "medium"
# one bfloat16 pass; "highest", "ieee" and "none" (not lowered by anyone) are IEEE float32.
REDUCED_LEVELS = ("high", "medium")
ALLOWED: dict[str, tuple[str, ...]] = {
    "ieee_float32": (),
    "tf32": ("tf32", *REDUCED_LEVELS),
    "bfloat16": ("tf32", "bf16", "bfloat16", *REDUCED_LEVELS),
}


def departures(wanted: str, switches: Mapping[str, str]) -> str:
    """The switches that contradict the precision `wanted`, as `name = value` words; empty where none does."""
    wrong = [f"{name} = {value}" for name, value in sorted(switches.items()) if _contradicts(wanted, name, value)]
    if wanted == "tf32" and switches and not any(value.strip().lower() == "tf32" for value in switches.values()):
        wrong.append("no backend at tf32")
    return ", ".join(wrong)


def _contradicts(wanted: str, name: str, value: str) -> bool:
    word = value.strip().lower().removeprefix("torch.")
    if name == "dtype":
        return word != ("bfloat16" if wanted == "bfloat16" else "float32")
    if name == "weights":
        # How they are stored; what they are multiplied in is the dtype's.
        return False
    if "allow_tf32" in name:
        return word == "true" and wanted == "ieee_float32"
    if "reduced_precision" in name:
        # Of half-precision products only; float32 ones never see it.
        return False
    return word in (*REDUCED, *REDUCED_LEVELS) and word not in ALLOWED[wanted]
