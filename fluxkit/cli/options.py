"""Arguments and options that several commands share."""

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def terminal_width() -> int:
    """Columns of the terminal, or of COLUMNS; 80 where nobody says."""
    return shutil.get_terminal_size((80, 24)).columns


class Schema(StrEnum):
    """The published JSON Schemas."""

    spec = "spec"
    result = "result"


class Format(StrEnum):
    """How a comparison is printed."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"


Specs = Annotated[list[str], typer.Argument(metavar="SPEC", help="Presets (see fluxkit presets) or TOML files.")]
Results = Annotated[list[Path], typer.Argument(metavar="RESULT", help="A result.json, a run folder or a study folder.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value of every spec: --set tune.seconds=60."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors are still told.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the study; must be new or empty.")]
Devices = Annotated[
    list[str] | None,
    typer.Option("--device", metavar="NAME", help="Predict for a device that is not here: H100, A40, laptop-cpu, ..."),
]
Study = Annotated[Path, typer.Argument(metavar="STUDY_DIR", help="Folder of the study that another machine runs.")]
Unfinished = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study or a run that did not complete.")]
Published = Annotated[
    list[str] | None,
    typer.Option(
        "--published", metavar="TABLE", help="Rows from elsewhere, shown apart: original-study, or a TOML file."
    ),
]
Page = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")]
NoPictures = Annotated[
    bool, typer.Option("--no-pictures", help="Leave all pictures out, so that the page can be passed on without them.")
]
WithResults = Annotated[
    bool,
    typer.Option(
        "--with-results", help="Keep beside the page, in results/, the results and the pictures that it shows."
    ),
]
UsdPerHour = Annotated[
    list[str] | None,
    typer.Option(
        "--usd-per-hour", metavar="[LABEL=]USD", help="Price of an instance instead of the spec's; with LABEL: of one."
    ),
]
UsdPerDeviceHour = Annotated[
    list[str] | None,
    typer.Option(
        "--usd-per-hour",
        metavar="[NAME=]USD",
        help="Price of all devices of the spec; with NAME: of that --device.",
    ),
]
UsdPerKwh = Annotated[
    list[str] | None,
    typer.Option(
        "--usd-per-kwh", metavar="[LABEL=]USD", help="Price of the devices' energy instead of the spec's; likewise."
    ),
]
TargetPsnr = Annotated[
    float | None,
    typer.Option("--target-psnr", metavar="DB", help="PSNR to time against (0 to 100), not one from the results."),
]
