"""Rows published elsewhere and not measured here, with their source; rates are computed from their seconds."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from fluxkit.errors import UsageError
from fluxkit.stats import rate
from fluxkit.values import Strict, read_regular

Line = Annotated[str, StringConstraints(min_length=1, max_length=400)]
MAX_BYTES = 1_000_000


class PublishedRow(Strict):
    """One row of somebody's table."""

    device: Line
    """As the source names it."""
    iterations: Annotated[int, Field(ge=1)]
    tuning_seconds: Annotated[float, Field(gt=0)]
    image_seconds: Annotated[float, Field(gt=0)] | None = None
    """For one image, end to end."""
    image_steps: Annotated[int, Field(ge=1)] | None = None
    """Denoising steps of that image."""

    @property
    def iterations_per_second(self) -> float:
        """Training speed."""
        return rate(self.iterations, self.tuning_seconds)

    @property
    def image_steps_per_second(self) -> float | None:
        """Generation speed, with text encoding and decoding in it."""
        if self.image_seconds is None or self.image_steps is None:
            return None
        return rate(self.image_steps, self.image_seconds)


class Published(Strict):
    """A table from elsewhere."""

    schema_: Literal["fluxkit.published/1"] = Field(alias="schema")
    title: Line
    source: Line
    """Where it was published."""
    settings: Line
    """What was run, as far as the source says."""
    row: Annotated[list[PublishedRow], Field(min_length=1, max_length=100)]

    def speed_ups(self) -> list[tuple[str, str, int, float]]:
        """(faster device, slower device, iterations, ratio of their training speeds) for equal iterations."""
        return [
            (fast.device, slow.device, fast.iterations, fast.iterations_per_second / slow.iterations_per_second)
            for fast in self.row
            for slow in self.row
            if fast.iterations == slow.iterations and fast.iterations_per_second > slow.iterations_per_second
        ]


def built_in() -> list[str]:
    """Names of the tables that ship with fluxkit."""
    folder = resources.files("fluxkit") / "data" / "published"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _published_text(name: str) -> str:
    if name in built_in():
        return (resources.files("fluxkit") / "data" / "published" / f"{name}.toml").read_text("utf-8")
    return read_regular(Path(name), MAX_BYTES).decode("utf-8")


def load_published(name: str) -> Published:
    """A table that ships with fluxkit, or one from a TOML file of the same form.

    Raises:
        UsageError: there is none, or it does not follow the form.
    """
    try:
        return Published.model_validate(tomllib.loads(_published_text(name)))
    except OSError as error:
        raise UsageError(
            f"{name} can't be read: {error.strerror}. Give a TOML file, or one of: {', '.join(built_in())}."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{name} is no table of published rows: {where}: {first['msg']}.") from error
    except ValueError as error:
        raise UsageError(f"{name} is not TOML in UTF-8: {error}.") from error
