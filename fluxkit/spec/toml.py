"""Reads a `RunSpec` from a preset or a TOML file, says what is wrong with one in a sentence, and writes one as TOML."""

import difflib
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fluxkit.errors import UsageError
from fluxkit.spec.plain_text import NotTextError, read_text
from fluxkit.spec.run_spec import SPEC_SCHEMA, RunSpec

PRESETS = resources.files("fluxkit") / "spec" / "presets"
MAX_SPEC_BYTES = 1_000_000
PATHS = (("model", "path"), ("model", "assistant_adapter"), ("data", "path"))
"""Keys that name files."""
WEIGHTS_SOURCE = ("path", "repo", "revision", "download")
"""Keys of [model] that say where pretrained weights come from."""
ESCAPES = "a backslash begins an escape inside of double quotes: write C:/… or 'C:\\…'"
"""Of a path as Windows spells it."""
TOKENS = "evaluate.max_sequence_length"
"""The one key of [evaluate] that speed depends on too."""

_CONTROL = re.compile("[\0-\x1f]")


def preset_names() -> list[str]:
    """Names of the specs that ship with fluxkit, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in PRESETS.iterdir() if entry.name.endswith(".toml"))


def preset_list(width: int) -> list[str]:
    """A line for each preset: its name, and the sentence that its file begins with."""
    names = preset_names()
    column = max(map(len, names)) + 2
    return [
        textwrap.fill(
            f"{name:<{column}}{preset_text(name).partition(chr(10))[0].removeprefix('# ')}",
            max(width, column + 20),
            subsequent_indent=" " * column,
        )
        for name in names
    ]


def preset_text(name: str) -> str:
    """The TOML of the preset `name`.

    Raises:
        UsageError: there is no such preset; the nearest name is suggested.
    """
    if name not in preset_names():
        raise UsageError(f"There is no preset {name!r}{_nearest(name, preset_names())}; fluxkit presets lists them.")
    return (PRESETS / f"{name}.toml").read_text("utf-8")


def load_spec(source: str, overrides: Sequence[str] = ()) -> RunSpec:
    """The spec of a preset's name or a TOML file's path, with `table.key=value` overrides.

    Raises:
        UsageError: no such preset or file, broken TOML, an unknown key or a value that is not allowed.
    """
    text = _text_of(source)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source} is not valid TOML: {_toml_fault(text, error)}.") from error
    _anchor_paths(values, Path(source).parent)
    return override_spec(values, overrides, source)


def override_spec(values: dict[str, Any], overrides: Sequence[str], source: str) -> RunSpec:
    """The spec of parsed values after `table.key=value` overrides, whose paths are meant from where one stands.

    An override of `model.weights` replaces the whole source of weights that the file names.

    Raises:
        UsageError: an override or a value is not allowed, or asks for quality of random weights.
    """
    settings = dict(map(_setting, overrides))
    if settings.get("model.weights", "pretrained") != "pretrained" and isinstance(values.get("model"), dict):
        values["model"] = {key: value for key, value in values["model"].items() if key not in WEIGHTS_SOURCE}
    for key, value in settings.items():
        _apply(values, key, value)
    _anchor_paths(values, Path())
    spec = parse_spec(values, source)
    if not spec.model.can_draw:
        _refuse_quality(settings)
    return spec


def _refuse_quality(settings: Mapping[str, Any]) -> None:
    if quality := [key for key in settings if key.startswith("evaluate.") and key != TOKENS]:
        raise UsageError(
            f"--set {quality[0]} asks for quality, but random weights of schnell have none: leave it out to measure "
            'speed, memory and energy, or set model.weights = "pretrained".'
        )


def _anchor_paths(values: dict[str, Any], folder: Path) -> None:
    """Paths in a file are meant from where the file lies, those of overrides from where one stands."""
    for table, key in PATHS:
        named = values.get(table)
        if isinstance(named, dict) and isinstance(path := named.get(key), str):
            if not path.strip():  # it would be the folder that one stands in
                raise UsageError(f"{table}.{key} is empty; name a file or folder, or leave it out.")
            if _CONTROL.search(path):  # "C:\new" is a C, a colon and a new line
                raise UsageError(f"{table}.{key} = {path!r} holds a control character: {ESCAPES}.")
            try:
                named[key] = str((folder / Path(path).expanduser()).resolve())
            except (OSError, RuntimeError, ValueError) as error:  # no such user, a loop of links, too long
                raise UsageError(
                    f"{table}.{key} = {path!r} is no path that can be followed: {str(error).rstrip('.')}."
                ) from error


def _toml_fault(text: str, error: ValueError | RecursionError) -> str:
    """What the parser found; with what to do where it stumbled over a backslash in double quotes."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "a number has thousands of digits, or brackets are nested hundreds deep"
    line = re.search(r"at line (\d+)", str(error))
    if line and re.search(r'"[^"]*\\', text.split("\n")[int(line[1]) - 1]):
        return f"{ESCAPES} (line {line[1]})"
    return str(error)


def parse_spec(values: dict[str, Any], source: str) -> RunSpec:
    """The spec of already parsed values; `source` names them in an error."""
    if "schema" not in values:
        raise UsageError(f'{source} has no schema; begin it with schema = "{SPEC_SCHEMA}".')
    try:
        return RunSpec.model_validate(values).in_this_version()
    except ValidationError as error:
        raise UsageError(f"{source}: {'; '.join(_sentence(detail) for detail in error.errors())}.") from error


def spec_toml(spec: RunSpec) -> str:
    """The spec as a TOML file that `fluxkit run` reads; what is not set is left out."""
    values = spec.model_dump(mode="json", by_alias=True)
    lines = [f"{key} = {_toml_scalar(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]"]
            lines += [f"{key} = {_toml_scalar(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


def _toml_scalar(value: Any) -> str:
    """A JSON scalar in TOML; their strings differ only in DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _text_of(source: str) -> str:
    path = Path(source)
    if "/" not in source and not source.endswith(".toml") and not os.path.exists(path):  # noqa: PTH110 - false for any name
        return preset_text(source)
    try:
        return read_text(path, MAX_SPEC_BYTES)
    except NotTextError as reason:
        raise UsageError(f"{source} {reason}; a run spec is a short TOML file.") from None
    except OSError as error:
        raise UsageError(
            f"{source} cannot be read: {error.strerror}. Give a spec file or one of fluxkit presets."
        ) from error


def _setting(override: str) -> tuple[str, Any]:
    """Key and value of an override, read as TOML, and as plain text where it is no TOML (`--set name=other`)."""
    key, separator, literal = override.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"--set {override}: write it as table.key=value, for example --set tune.seconds=60.")
    try:
        values = tomllib.loads(f"value = {literal}")
    except (ValueError, RecursionError) as error:
        if literal.strip()[:1] in {'"', "'"} or not isinstance(error, tomllib.TOMLDecodeError):  # no plain text
            raise UsageError(
                f"--set {override}: not valid TOML: {_toml_fault(f'value = {literal}', error)}."
            ) from error
        return key.strip(), literal.strip()
    if len(values) > 1:
        raise UsageError(f"--set {key.strip()} is followed by more lines; give a --set for each value.")
    return key.strip(), values["value"]


def _apply(values: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {key}={value}: {table} is a value, not a table.")
    values[last] = value


def _sentence(detail: ErrorDetails) -> str:
    """One validation error as: which key, what was given, what is allowed."""
    where = ".".join(str(part) for part in detail["loc"] if not str(part).startswith(("constrained-", "literal[")))
    if detail["type"] == "extra_forbidden":
        return f"unknown key {where}{_nearest(str(detail['loc'][-1]), _fields_at(detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return f"{where} is missing"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    if detail["type"] == "model_type":
        message = f"it should be a table, [{where}]"
    if detail["type"] == "value_error":
        return message if not where else f"[{where}] {message}"
    given = detail["input"] if isinstance(detail["input"], date | time) else repr(detail["input"])
    return f"{where} = {given}: {message[:1].lower()}{message[1:]}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names that are allowed at a place of the spec."""
    model: type[BaseModel] = RunSpec
    for part in location:
        field = model.model_fields.get(str(part))
        candidates = [field.annotation, *get_args(field.annotation)] if field else []
        models = [kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _nearest(name: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (allowed: {', '.join(allowed)})" if allowed else ""
