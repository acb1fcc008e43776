"""Commands that ask about machines: what would be started, and whether this one is fit to measure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fluxkit.cli.options import Devices, Json, Quiet, Sets, Specs, Study, UsdPerDeviceHour, terminal_width
from fluxkit.errors import ExitCode, UsageError
from fluxkit.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.spec.run_spec import RunSpec


All = Annotated[bool, typer.Option("--all", help="Every reading, those that are fit too.")]
Check = Annotated[bool, typer.Option("--check", help="For scripts: exit code 3 where the machine is not fit.")]


def plan(
    specs: Specs,
    sets: Sets = None,
    devices: Devices = None,
    usd_per_hour: UsdPerDeviceHour = None,
    as_json: Json = False,
) -> None:
    """Show how specs would run here, or on a device named by --device.

    Nothing is loaded.
    For this machine everything is decided as a run would decide it, with what to ask Slurm for. For another one, time
    and cost are predicted from exact FLOPs and a stated efficiency, whose origin is printed: no measurement.

    Example: fluxkit plan schnell-single-gpu --device A40 --device H200 --usd-per-hour A40=0.5 --usd-per-hour H200=3.5
    """
    from fluxkit.plan.plan_table import plan_table
    from fluxkit.run.study import plan_all
    from fluxkit.spec.toml import load_spec

    loaded = [load_spec(spec, sets or ()) for spec in specs]
    if devices:
        typer.echo(_predictions(loaded, devices, usd_per_hour or (), as_json=as_json))
        return
    if usd_per_hour:
        raise UsageError("--usd-per-hour prices a device named with --device; name one, or set hardware.usd_per_hour.")
    plans = plan_all(loaded, to_run=False)
    values = {spec.name: plan.model_dump(mode="json") for spec, plan in zip(loaded, plans, strict=True)}
    typer.echo(json.dumps(values, indent=1) if as_json else plan_table(loaded, plans, terminal_width()))


def doctor(everything: All = False, check: Check = False, as_json: Json = False) -> None:
    """Say whether this machine is fit to measure: doubts first, with what to do.

    Nothing on it is changed.
    With --all every reading is shown, those that are fit too, and where each was read.
    The same readings go into every result, before and after the run.
    """
    from fluxkit.machine.doctor import examine, examine_json, show, tally
    from fluxkit.machine.provenance import this_kit
    from fluxkit.machine.system import probe

    findings = examine(probe(), this_kit())
    if as_json:
        typer.echo(examine_json(findings))
    else:
        show(findings, terminal_width(), everything=everything)
    if check and tally(findings)["doubt"]:
        raise typer.Exit(ExitCode.MACHINE)


def join(folder: Study, quiet: Quiet = False) -> None:
    """Take part in a study that another machine runs, to its end.

    Give it on every machine but the first, with the same PET_RDZV_ENDPOINT=HOST:PORT that the first one has, and the
    folder of its --out, which all of them must see. It waits ten minutes for a run to begin there. What comes of it is
    told and written on the first machine.

    Example: fluxkit join /shared/runs/study
    """
    from fluxkit.run.join import join as take_part
    from fluxkit.run.progress import reporter

    count = take_part(folder, reporter=reporter(quiet=quiet))
    typer.echo(f"Took part in {counted(count, 'run')}.", err=True)


def _predictions(specs: list[RunSpec], names: list[str], prices: Sequence[str], *, as_json: bool) -> str:
    from fluxkit.compare.reader_options import ALL, price_sheet
    from fluxkit.machine.device_peaks import device_named
    from fluxkit.plan.plan_table import prediction_table
    from fluxkit.plan.predict import predict

    devices = [device_named(name) for name in names]
    sheet = {
        label and device_named(label).name: price for label, price in price_sheet(prices, "--usd-per-hour").items()
    }
    unknown = sorted(sheet.keys() - {ALL, *(device.name for device in devices)})
    if unknown:
        raise UsageError(f"--usd-per-hour prices {unknown[0]}, which no --device names; add --device {unknown[0]}.")
    predictions = [
        tuple(predict(spec, device, sheet.get(device.name, sheet.get(ALL))) for device in devices) for spec in specs
    ]
    if as_json:
        rows = zip(specs, predictions, strict=True)
        values = {spec.name: [prediction.model_dump(mode="json") for prediction in row] for spec, row in rows}
        return json.dumps(values, indent=1)
    return "\n\n".join(
        prediction_table(spec, row, terminal_width()) for spec, row in zip(specs, predictions, strict=True)
    )
