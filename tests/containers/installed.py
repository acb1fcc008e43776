"""What an environment holds, as JSON: Python, its packages and Debian's. It runs inside an image, without pip."""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

DPKG = Path("/var/lib/dpkg/status")


def python_packages():
    """Name, version, licence and home of each installed distribution; the first on the path counts, as in imports."""
    packages = {}
    for found in metadata.distributions():
        facts = found.metadata
        urls = [url.partition(", ")[2] for url in facts.get_all("Project-URL") or []]
        packages.setdefault(
            facts["Name"].lower().replace("_", "-").replace(".", "-"),
            {
                "name": facts["Name"],
                "version": facts["Version"],
                "license": facts.get("License-Expression"),
                "home": facts.get("Home-page") or next(iter(urls), None),
            },
        )
    return [packages[name] for name in sorted(packages)]


def debian_packages():
    """Name, version and architecture of each installed package; none on another system."""
    text = DPKG.read_text("utf-8", "replace") if DPKG.is_file() else ""
    entries = [
        dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and not line.startswith(" "))
        for entry in text.split("\n\n")
    ]
    return [
        {"name": entry["Package"], "version": entry["Version"], "architecture": entry.get("Architecture")}
        for entry in entries
        if entry.get("Status", "").endswith(" installed")
    ]


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps({"python": platform.python_version(), "pypi": python_packages(), "deb": debian_packages()})
    )
