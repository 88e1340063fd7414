"""`imager profiles` and `imager profile show`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from imager.cli.commands import App
from imager.cli.options import Display, Results
from imager.cli.tables import table
from imager.profile.names import builtin_names
from imager.support.inputs import STDIN, input_name, read_input

app = App()

_COLUMNS = ("NAME", "KIND", "FORMAT", "ARCH")
_HINT = "`imager profile init` writes a profile to start from"


def list_profiles(*, display: Results) -> None:
    """List the built-in profiles."""
    from imager.profile.load import load_profile, read_builtin

    profiles = {name: load_profile(read_builtin(name), source=name) for name in builtin_names()}
    rows = [
        {
            "name": name,
            "kind": profile.output.kind.value,
            "outFormat": profile.output.out_format.value,
            "arch": profile.arch,
        }
        for name, profile in profiles.items()
    ]
    lines = table([_COLUMNS, *(list(row.values()) for row in rows)], numbers=0)
    display.answer(lambda: "\n".join(lines), lambda: json.dumps(rows, indent=2))


def read_layer(source: str) -> Mapping[str, Any]:
    """Return the profile that a user calls `source`: a built-in one, a file, or `-`.

    Raises InputError when there is none, or it is not YAML.
    """
    from imager.profile.load import LARGEST_PROFILE, parse_yaml, read_builtin

    if source == STDIN or "/" in source or source.endswith((".yaml", ".yml")):
        text = read_input(source, what="profile", limit=LARGEST_PROFILE, hint=_HINT)
        return parse_yaml(text, source=input_name(source))
    return read_builtin(source)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE|-",
            help="Built-in profile, or a file; - is standard input.",
            autocompletion=builtin_names,
        ),
    ],
    *,
    display: Results,
) -> None:
    """Print a profile with its base and all defaults, in YAML."""
    import yaml

    from imager.profile.load import load_profile

    profile = load_profile(read_layer(name), source=input_name(name))
    values = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    display.answer(
        lambda: yaml.safe_dump(values, sort_keys=False).rstrip(),
        lambda: json.dumps(values, indent=2),
    )


@app.command()
def init(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="File to write; - prints it.")] = (
        "profile.yaml"
    ),
    *,
    base: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Built-in profile to start from.", autocompletion=builtin_names
        ),
    ] = "iso",
    display: Display,
) -> None:
    """Write a profile to start from, with every field explained and commented out."""
    from imager.profile.load import read_builtin
    from imager.profile.reference import starter
    from imager.support.atomic import write_atomic

    read_builtin(base)
    text = starter(base)
    if file == STDIN:
        typer.echo(text, nl=False)
        return
    write_atomic(Path(file), text.encode(), clobber=False)
    command = file if "/" in file else f"./{file}"
    display.reporter().step(f"wrote {file}: edit it, then run `imager {command}`")


@app.command()
def schema(*, display: Display) -> None:  # noqa: ARG001 - the schema is all that is printed
    """Print the JSON schema of a profile, for editors."""
    from imager.profile.reference import profile_schema

    typer.echo(json.dumps(profile_schema(), indent=2))


@app.command("reference")
def print_reference(*, display: Display) -> None:  # noqa: ARG001 - nothing else is printed
    """Print all fields of a profile, in Markdown."""
    from imager.profile.reference import reference_table

    typer.echo(reference_table(), nl=False)
