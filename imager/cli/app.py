"""Build the command tree: one command per profile, and the groups `images`, `assets`, ..."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from imager import __version__
from imager.cli.build import build
from imager.cli.commands import App, Group
from imager.cli.declare import option
from imager.cli.diff import diff
from imager.cli.explain import explain
from imager.cli.files import extract, ls
from imager.cli.help import DISPLAY
from imager.cli.inspect import inspect
from imager.cli.lock import lock
from imager.cli.profiles import list_profiles
from imager.cli.publish import fetch, publish
from imager.cli.verify import verify
from imager.profile.names import builtin_names, is_profile_file
from imager.support.inputs import STDIN


class _ProfileGroup(Group):
    """A group that accepts a profile as a command: a file, or a name in an overlay image."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command `cmd_name`, or a command that builds the profile file `cmd_name`."""
        found = super().get_command(ctx, cmd_name)
        if found is None and is_profile_file(cmd_name):
            return super().get_command(ctx, STDIN)
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and arguments; with an overlay image, its profiles are commands."""
        name, *rest = args
        if any(each.partition("=")[0] == _OVERLAY for each in rest):
            found = self.get_command(ctx, name) or super().get_command(ctx, STDIN)
            return name, found, rest
        return super().resolve_command(ctx, args)


_OVERLAY = "--overlay-image"


_PREPARE = "Prepare"
_SHARE = "Share"
_MACHINES = "Machines"
_READ = "Read images"
_HELP = {
    "iso": "Build a bootable ISO.",
    "metal": "Build a raw disk image.",
    "secureboot-iso": "Build a bootable ISO, signed for SecureBoot.",
    "secureboot-metal": "Build a raw disk image, signed for SecureBoot.",
    "secureboot-metal-uki": "Build only the UKI of secureboot-metal.",
    "metal-4k": "Build a raw disk image with 4096-byte sectors.",
    "metal-uki": "Build only the UKI of metal.",
    "installer": "Build an installer image.",
    "secureboot-installer": "Build an installer image, signed for SecureBoot.",
    "vmware": "Build a virtual appliance for VMware.",
    "secureboot-vmware": "Build a virtual appliance for VMware, signed for SecureBoot.",
    STDIN: "Build a profile in YAML from standard input.",
}
_PLATFORMS = {
    "akamai": "Akamai",
    "alibabacloud": "Alibaba Cloud",
    "aws": "Amazon EC2",
    "azure": "Azure",
    "cloudstack": "CloudStack",
    "digital-ocean": "DigitalOcean",
    "exoscale": "Exoscale",
    "gcp": "Google Cloud",
    "hcloud": "Hetzner Cloud",
    "nocloud": "cloud-init's nocloud",
    "opennebula": "OpenNebula",
    "openstack": "OpenStack",
    "oracle": "Oracle Cloud",
    "scaleway": "Scaleway",
    "upcloud": "UpCloud",
    "vultr": "Vultr",
}
_EXAMPLES = """
    Examples:
      imager {name} --image-cache cache.oci --dry-run
      imager {name} --image-cache cache.oci --arch arm64
      imager {name} --image-cache cache.oci --extra-kernel-arg console=ttyS0
"""
_FIRST_STEPS = """
    First steps:
      imager assets fetch
      imager images default > images.txt
      imager images cache-create --images images.txt --image-cache-path cache.oci
      imager iso --image-cache cache.oci
"""

app = App(
    cls=_ProfileGroup,
    help="Build bootable images of Talos Linux that contain their own container images.\n\n"
    "The commands iso, metal, ... are the built-in profiles. `imager FILE.yaml` builds a profile "
    "of your own, `imager -` reads it from standard input.",
    epilog=_FIRST_STEPS,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _profile_help(name: str) -> str:
    """Return the help text of the command that builds the profile `name`."""
    platform = name.removeprefix("secureboot-")
    if name in _HELP or platform not in _PLATFORMS:
        return _HELP.get(name, f"Build the profile {name}.")
    signed = ", signed for SecureBoot" if name != platform else ""
    return f"Build a disk image for {_PLATFORMS[platform]}{signed}."


def _load(group: str) -> App:
    """Return the app of a group, whose module alone is loaded."""
    match group:
        case "images":
            from imager.cli.images import app as found
        case "assets":
            from imager.cli.assets import app as found
        case "secureboot":
            from imager.cli.secureboot import app as found
        case "profile":
            from imager.cli.profiles import app as found
        case "config":
            from imager.cli.config import app as found
        case "node":
            from imager.cli.node import app as found
        case _:
            raise ValueError(f"there is no group {group!r}")
    return found


for _name in (*builtin_names(), STDIN):
    app.command(
        _name,
        help=_profile_help(_name),
        epilog=_EXAMPLES.format(name=_name) if _name != STDIN else None,
        rich_help_panel="Build",
    )(build)
app.command("profiles", rich_help_panel=_PREPARE)(list_profiles)
app.command("publish", rich_help_panel=_SHARE)(publish)
app.command("fetch", rich_help_panel=_SHARE)(fetch)
app.command("inspect", rich_help_panel=_READ)(inspect)
app.command("lock", rich_help_panel=_PREPARE)(lock)
app.command("ls", rich_help_panel=_READ)(ls)
app.command("extract", rich_help_panel=_READ)(extract)
app.command("diff", rich_help_panel=_READ)(diff)
app.command("verify", rich_help_panel=_READ)(verify)
app.command("explain", rich_help_panel="Errors")(explain)
for _panel, _name, _help in (
    (_PREPARE, "images", "List images and create image caches."),
    (_PREPARE, "assets", "Fetch and show boot assets."),
    (_PREPARE, "secureboot", "Generate keys and check signatures."),
    (_PREPARE, "profile", "Show, create and document profiles."),
    (_MACHINES, "config", "Create and check machine configurations."),
    (_MACHINES, "node", "Serve and diagnose a machine's own image cache."),
):
    app.add_group(_name, partial(_load, _name), help=_help, rich_help_panel=_panel)
app.add_group("image", partial(_load, "images"), help="The same as `images`.", hidden=True)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer calls it
    if value:
        typer.echo(f"imager {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        option(
            None,
            "Print the version.",
            "--version",
            "-V",
            callback=_print_version,
            is_eager=True,
            rich_help_panel=DISPLAY,
        ),
    ] = False,
) -> None:
    """Take the options that go before every command."""
