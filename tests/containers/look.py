"""Looks at what a container left behind; for chain.sh, with nothing but Python's own library."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path


def results(folder: str) -> dict[str, dict]:
    """Results under a folder, by the name of their spec."""
    found = [json.loads(file.read_text("utf-8")) for file in sorted(Path(folder).rglob("result.json"))]
    return {result["spec"]["name"]: result for result in found}


def version(checkout: str) -> None:
    """Prints the version of fluxkit in a checkout."""
    print(tomllib.loads((Path(checkout) / "pyproject.toml").read_text("utf-8"))["project"]["version"])  # noqa: T201 - its answer


def metadata(checkout: str) -> None:
    """Prints what pyproject.toml says about the package, without what only its tests need and without settings."""
    stated = tomllib.loads((Path(checkout) / "pyproject.toml").read_text("utf-8"))
    del stated["project"]["optional-dependencies"]["test"]
    print(json.dumps([stated["project"], stated["build-system"]], sort_keys=True))  # noqa: T201 - its answer


def labelled(labels: str, packages_and_build: str) -> None:
    """An image's labels and its build file, which is the last line of the second file, say the same."""
    stated = json.loads(Path(labels).read_text("utf-8"))
    build = json.loads(Path(packages_and_build).read_text("utf-8").splitlines()[-1])
    for label, name in (("ref.name", "image"), ("revision", "commit"), ("base.name", "base")):
        assert build[name], (name, build)
        assert stated[f"org.opencontainers.image.{label}"] == build[name], (label, stated, build)
    for name in ("version", "created"):
        assert build[name], (name, build)
        assert stated[f"org.opencontainers.image.{name}"] == build[name], (name, stated, build)


def billed(bill: str, packages_and_build: str) -> None:
    """A bill of materials names every package that pip named, in its version, and Debian's."""
    parts = json.loads(Path(bill).read_text("utf-8"))["components"]
    billed_packages = {(part["name"].lower().replace("_", "-"), part["version"]) for part in parts}
    for line in Path(packages_and_build).read_text("utf-8").splitlines()[:-1]:
        name, _, wanted = line.partition("==")
        assert not wanted or (name.lower().replace("_", "-"), wanted) in billed_packages, line
    assert any(part.get("purl", "").startswith("pkg:deb/debian/") for part in parts), "no package of Debian"


def completed(folder: str, image: str, commit: str) -> None:
    """Every result is completed and names the image and the commit that made it."""
    found = results(folder)
    assert found, f"no result under {folder}"
    for name, result in found.items():
        assert result["status"] == "completed", (name, result["status"], result["error"])
        assert result["kit"]["image"] == image, (name, result["kit"])
        assert result["kit"]["commit"] == commit, (name, result["kit"])


def same(first: str, second: str) -> None:
    """Two runs of the same spec in two builds give the same losses and the same quality after the same iterations."""
    one, other = (results(folder)["nano-laptop-cpu"] for folder in (first, second))
    count = one["spec"]["tune"]["iterations"]
    assert one["tuning"]["losses"][:count] == other["tuning"]["losses"][:count]
    for value in ("psnr_db_at_iterations", "ssim_at_iterations", "psnr_db_untuned"):
        assert one["summary"][value] == other["summary"][value], value


def same_numbers(first: str, second: str) -> None:
    """Two selftests passed in every step and gave the same numbers."""
    one, other = (json.loads(Path(file).read_text("utf-8")) for file in (first, second))
    assert all(step["passed"] for step in (*one, *other))
    assert [step["numbers"] for step in one] == [step["numbers"] for step in other], (one, other)


def interrupted(folder: str) -> None:
    """The one result is completed and states its interruption."""
    (result,) = results(folder).values()
    assert result["status"] == "completed", (result["status"], result["error"])
    assert result["interruptions"], "the result states no interruption"


def walk(folder: str) -> None:
    """What `compare` printed and the page show one workload, with each machine's row and the prices of two of them."""
    files = sorted(Path(folder).rglob("result.json"))
    labels = {json.loads(file.read_text("utf-8"))["spec"]["hardware"]["label"] for file in files}
    assert len(labels) == len(files) == 3, files  # one run each
    compared, page = (Path(folder, name).read_text("utf-8") for name in ("compared", "report.html"))
    for text in (compared, page):
        assert not labels - {label for label in labels if label in text}, (labels, text[:2000])
        assert "Workload 2" not in text, text[:2000]
    assert "1.9 USD/h" in page, "the page lacks the price of one machine"
    assert "7.6 USD/h" in page, "the page lacks the price of the other"


COMMANDS = {
    command.__name__: command
    for command in (version, metadata, labelled, billed, completed, same, same_numbers, interrupted, walk)
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
