"""Planning goes forward: files are read once, and no module is turned back to again and again."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext

import pytest
from PIL import Image

from fluxkit.dataset import picture_folder
from fluxkit.errors import MachineError
from fluxkit.plan import sizes
from fluxkit.plan.plan import make_plan
from fluxkit.run import study
from fluxkit.spec.toml import load_spec

ROOT_FILES = ("fluxkit.units", "fluxkit.values", "fluxkit.errors", "fluxkit.machine.stop_requests")
"""What every room uses: sizes in words, guards of paths, errors, and signals. None is a step of planning."""
BESIDE = ("fluxkit.files.contained", "fluxkit.files.lock", "fluxkit.record.study", "fluxkit.run.progress")
"""What holds and writes the study's folder before its first run, and tells of it: no step of planning either."""
MOST_MODULES, MOST_ENTRIES = 15, 2
"""Of the fifteen, a folder of pictures takes three: its listing, the walk, and the suffixes that Pillow opens."""


class LaunchedError(Exception):
    """The way from `make_plan` to `launch` is over."""


@pytest.fixture
def pictures(tmp_path):
    """A folder of three captioned pictures, as settings of a spec."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (80, 80), (number, 0, 0)).save(folder / f"{number}.png")
    return ["data.source=folder", f"data.path={folder}", "data.caption=a colour"]


def properties():
    """The code of every property in fluxkit: what reads a value is not counted as a call."""
    modules = [module for name, module in sys.modules.items() if name.startswith("fluxkit")]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    getters = [member.fget for each in classes for member in vars(each).values() if isinstance(member, property)]
    return {getter.__code__ for getter in getters if hasattr(getter, "__code__")}


def entries(act):
    """How often calls enter each module of fluxkit from another one, from `make_plan` on."""
    counted, skipped = Counter(), properties()

    def count(frame, event, _argument):
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if event != "call" or not module.startswith("fluxkit."):
            return
        caller = frame.f_back.f_globals.get("__name__", "") if frame.f_back else ""
        # Comprehensions and lambdas (`<…>`) belong to the function around them.
        foreign = caller.startswith("fluxkit.") and caller != module
        if (counted or code is make_plan.__code__) and foreign and code not in skipped and code.co_name[0] != "<":
            counted[module] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return counted


@pytest.mark.parametrize("name", ["nano-laptop-cpu", "nano-two-process", "folder"])
def test_from_make_plan_to_launch_few_modules_are_entered_and_none_thrice(
    name, pictures, tmp_path, machine, monkeypatch
):
    """Between the two, calls enter at most fifteen modules, none more than twice; root files aside."""
    spec = load_spec("nano-laptop-cpu", pictures) if name == "folder" else load_spec(name)

    def launch(*_arguments, **_options):
        raise LaunchedError

    def run():
        with pytest.raises(LaunchedError):
            study.run_study([spec], out=tmp_path / "study")

    monkeypatch.setattr(study, "launch", launch)
    monkeypatch.setattr("fluxkit.machine.system.probe", machine)
    counted = entries(run)
    for module in (*ROOT_FILES, *BESIDE):
        counted.pop(module, None)
    assert counted["fluxkit.plan.plan"] == 2  # the plan, and how long the study takes by it
    assert len(counted) <= MOST_MODULES, counted
    assert max(counted.values()) <= MOST_ENTRIES, counted


@pytest.mark.parametrize("refused", [False, True])
def test_a_plan_lists_its_pictures_once(pictures, machine, monkeypatch, refused):
    """Whether it is refused for its memory, with dozens of settings tried, or not."""
    listings = []

    def list_folder(spec):
        listings.append(spec.path)
        return picture_folder.list_folder(spec)

    monkeypatch.setattr(sizes, "list_folder", list_folder)
    spec = load_spec("nano-laptop-cpu", pictures)
    with pytest.raises(MachineError, match="no setting makes it fit") if refused else nullcontext():
        make_plan(spec, machine(memory_bytes=10**8 if refused else 10**10))
    assert len(listings) == 1


def test_planning_downloads_nothing(machine, monkeypatch, tmp_path):
    """A plan only says what is missing, even where the spec allows a download; a study brings it before it plans."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("fluxkit.machine.system.probe", machine)
    monkeypatch.setattr("fluxkit.model.download.download", lambda *_: pytest.fail("it was downloaded"))
    spec = load_spec("schnell-laptop-cpu", ["model.download=true", "execution.quantization=none"])
    with pytest.raises(MachineError, match="not in the local hub cache"):
        study.plan_all([spec])
