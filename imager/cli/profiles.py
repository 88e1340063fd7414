"""`imager profiles` and `imager profile show`."""

from __future__ import annotations

from typing import Annotated

import typer

from imager.profile.names import builtin_names

app = typer.Typer(no_args_is_help=True)


def list_profiles() -> None:
    """List the built-in profiles."""
    from imager.profile.load import load_profile, read_builtin

    for name in builtin_names():
        profile = load_profile(read_builtin(name), source=name)
        output = profile.output
        typer.echo(f"{name:<12} {output.kind.value}, {output.out_format.value}, {profile.arch}")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Print the built-in profile NAME as it resolves, in YAML."""
    import yaml

    from imager.profile.load import load_profile, read_builtin

    profile = load_profile(read_builtin(name), source=name)
    values = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)
