"""The software bill of materials of an environment: this one stands for an image's."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def installed():
    """What the half that runs inside an image says of this environment, with no path but the interpreter's own."""
    script = (HERE / "installed.py").read_bytes()
    return subprocess.run([sys.executable, "-I", "-"], check=True, capture_output=True, input=script).stdout


def test_a_bill_of_materials_names_what_is_installed(tmp_path):
    """The bill of this environment follows CycloneDX's schema and names every package with the version it has."""
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib, of the test extra, is not installed")
    command = [sys.executable, str(HERE / "sbom.py"), "fluxkit:cpu"]
    made = subprocess.run(command, check=True, capture_output=True, input=installed())
    bill = json.loads(made.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "fluxkit:cpu"
    versions = {part["name"]: part["version"] for part in bill["components"]}
    for name in ("pydantic", "torch", "pillow"):
        assert versions[metadata.metadata(name)["Name"]] == metadata.version(name)
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    (tmp_path / "bill").write_bytes(made.stdout)
    (tmp_path / "packages").write_text(f"torch=={metadata.version('torch')}\nabsent==1.0\n{{}}\n")
    look = [sys.executable, str(HERE / "look.py"), "billed", str(tmp_path / "bill"), str(tmp_path / "packages")]
    assert "AssertionError: absent==1.0" in subprocess.run(look, capture_output=True, text=True, check=False).stderr


def test_what_is_installed_is_listed_without_pip():
    """The half that runs inside an image needs the standard library alone, and names each distribution once."""
    names = [package["name"] for package in json.loads(installed())["pypi"]]
    assert "pydantic" in names
    assert len(names) == len(set(names))
