"""`imager profiles` and `imager profile show`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from imager.cli.commands import App
from imager.cli.options import Results
from imager.cli.tables import table
from imager.profile.names import builtin_names

app = App()


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
    lines = table([list(row.values()) for row in rows], numbers=0)
    display.answer(lambda: "\n".join(lines), lambda: json.dumps(rows, indent=2))


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of the profile.", autocompletion=builtin_names),
    ],
    *,
    display: Results,
) -> None:
    """Print the built-in profile NAME with all its defaults, in YAML."""
    import yaml

    from imager.profile.load import load_profile, read_builtin

    profile = load_profile(read_builtin(name), source=name)
    values = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    display.answer(
        lambda: yaml.safe_dump(values, sort_keys=False).rstrip(),
        lambda: json.dumps(values, indent=2),
    )
