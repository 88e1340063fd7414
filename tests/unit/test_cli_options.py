"""Options that commands share by way of a dataclass."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from imager.cli.declare import flattened
from imager.cli.options import PushRegistries, Registries


@dataclass(frozen=True, slots=True)
class Size:
    width: Annotated[int, typer.Option(help="In columns.")] = 80
    wide: Annotated[bool, typer.Option("--wide")] = False


def draw(name: str, *, size: Size, color: str = "red") -> None:
    """Draw it."""
    typer.echo(f"{name} {size.width} {size.wide} {color}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["it"], "it 80 False red"),
        (["it", "--width", "7", "--wide"], "it 7 True red"),
        (["--color", "blue", "it"], "it 80 False blue"),
    ],
)
def test_fields_are_options(arguments: list[str], said: str) -> None:
    app = typer.Typer()
    app.command()(flattened(draw))
    assert CliRunner().invoke(app, arguments).output == f"{said}\n"


def test_the_others_stay_where_they_were() -> None:
    command = flattened(draw)
    assert list(inspect.signature(command).parameters) == ["name", "width", "wide", "color"]
    assert command.__doc__ == "Draw it."


@pytest.mark.parametrize("registries", [PushRegistries(retries=0), Registries(retries=0)])
def test_no_retries_are_told_from_none_given(registries: PushRegistries) -> None:
    assert registries.settings().patience.retries == 0
    given = registries.given()
    assert given and given.patience.retries == 0
    assert type(registries)().given() is None


def test_mirrors_are_for_pulling() -> None:
    endpoints = Registries(mirrors=["ghcr.io=http://one", "ghcr.io=http://two/x"])
    found = endpoints.settings().hosts.endpoints("ghcr.io")
    assert [each.host for each in found] == ["one", "two", "ghcr.io"]
