"""The command tree: one command per profile, and the groups `images`, `assets`, ..."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from imager import __version__
from imager.cli import assets, cachechanges, caches, config, images, node, profiles, secureboot
from imager.cli.build import build
from imager.cli.certgen import cache_cert_gen
from imager.cli.push import cache_push
from imager.cli.serve import cache_serve
from imager.profile.names import builtin_names
from imager.textinput import STDIN


class _ProfileGroup(TyperGroup):
    """Takes the name of a profile file for a command: `imager ./edge.yaml`."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command called `cmd_name`, or the one that reads a file of that name."""
        found = super().get_command(ctx, cmd_name)
        if found is None and ("/" in cmd_name or cmd_name.endswith((".yaml", ".yml"))):
            return super().get_command(ctx, STDIN)
        return found


app = typer.Typer(
    cls=_ProfileGroup,
    help="Build boot assets for Talos Linux that carry their own container images.\n\n"
    "The commands iso, metal, ... are the built-in profiles; `imager -` reads a profile in YAML "
    "from standard input, `imager FILE.yaml` from a file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_HELP = {
    "iso": "Build a bootable ISO.",
    "metal": "Build a raw disk image.",
    "secureboot-iso": "Build a bootable ISO, signed for SecureBoot.",
    "secureboot-metal": "Build a raw disk image, signed for SecureBoot.",
    "secureboot-metal-uki": "Build the UKI of secureboot-metal alone.",
    "metal-4k": "Build a raw disk image for sectors of 4096 bytes.",
    STDIN: "Build what a profile in YAML on standard input says.",
}
for _name in (*builtin_names(), STDIN):
    app.command(_name, help=_HELP.get(_name, f"Build the profile {_name}."))(build)
images.app.add_typer(caches.app)
images.app.add_typer(cachechanges.app)
images.app.command("cache-push")(cache_push)
images.app.command("cache-serve")(cache_serve)
images.app.command("cache-cert-gen")(cache_cert_gen)
app.add_typer(images.app, name="images", help="List images, and make image caches.")
app.add_typer(images.app, name="image", hidden=True)
app.add_typer(assets.app, name="assets", help="Get and show boot assets.")
app.add_typer(config.app, name="config", help="Make and check machine configurations.")
app.add_typer(node.app, name="node", help="Keep a machine's own image cache.")
app.add_typer(secureboot.app, name="secureboot", help="Make keys, and check signatures.")
app.add_typer(profiles.app, name="profile", help="Show profiles.")
app.command("profiles")(profiles.list_profiles)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer calls it
    if value:
        typer.echo(f"imager {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that go before every command."""
