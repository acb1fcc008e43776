"""Whether every package of the CPU lock is to be had for arm64, in the locked version and with a hash of the lock.

Asks the index that pip is configured for, and downloads no package. It needs a network, so it is not a test but a
recipe, `just arm64`, which .ci/run uses too. torch is left out: its arm64 wheel lies on PyTorch's index alone, and
docker/lock.sh notes its hash.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

LOCK = Path(__file__).parents[2] / "docker" / "requirements-cpu.txt"
PLATFORM = ("--python-version", "3.11", "--python-platform", "aarch64-manylinux_2_28")


def locked() -> dict[str, set[str]]:
    """Hashes of each `name==version` of the lock, without torch."""
    entries = LOCK.read_text("utf-8").replace("\\\n", " ").splitlines()
    split = [entry.split() for entry in entries if not entry.startswith(("#", "torch=="))]
    return {pin: {word.removeprefix("--hash=sha256:") for word in hashes} for pin, *hashes in split}


def to_be_had(pins: list[str]) -> dict[str, set[str]]:
    """Hashes of the wheels for arm64 of each `name==version`, as the index states them."""
    done = subprocess.run(
        (
            "uv", "pip", "compile", "--quiet", "--no-config", "--no-deps", "--only-binary", ":all:", *PLATFORM,
            "--format", "pylock.toml", "-",
        ),
        input="\n".join(pins), env=settings(), stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit("A package of the CPU lock is not to be had for arm64, or the index can't be reached; see above.")
    return {
        f"{package['name']}=={package['version']}": {wheel["hashes"]["sha256"] for wheel in package["wheels"]}
        for package in tomllib.loads(done.stdout)["packages"]
    }


def settings() -> dict[str, str]:
    """This environment, and the index that pip is configured for."""
    asked = subprocess.run(
        (sys.executable, "-m", "pip", "config", "list"), capture_output=True, text=True, check=True
    ).stdout
    index = re.search(r"^(?:global|:env:)\.index-url='(.*)'$", asked, re.MULTILINE)
    return {**os.environ, **({"UV_DEFAULT_INDEX": index[1]} if index else {})}


def main() -> None:
    """Prints how many packages there are, or ends with what is wrong."""
    lock = locked()
    found = to_be_had(list(lock))
    wrong = [pin for pin, hashes in lock.items() if not found.get(pin, set()) & hashes]
    if wrong:
        sys.exit(f"The CPU lock has no hash of the arm64 wheel of {', '.join(wrong)}; run: just lock")
    print(f"All {len(lock)} packages of the CPU lock but torch are to be had for arm64.")  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
