"""Options that several commands share, in groups: each group is a panel of the help."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

import typer

from imager.cli.help import DISPLAY
from imager.cli.parsing import naming
from imager.support.reporter import ProgressStyle, Reporter, make_reporter, report_log
from imager.support.screen import NO_COLOR

if TYPE_CHECKING:
    from imager.oci.platform import Platform
    from imager.oci.settings import RegistrySettings
    from imager.talos.version import TalosVersion as Version

DEFAULT_PLATFORM = "linux/amd64"

ArchName = Literal["amd64", "arm64"]

Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow HTTP and certificates of unknown authorities.")
]
RegistryMirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-mirror",
        metavar="REGISTRY=URL",
        help="Ask this mirror before the registry; mirrors are asked in the order given. "
        "A path in the URL replaces /v2.",
    ),
]
RegistryHosts = Annotated[
    list[Path] | None,
    typer.Option(
        "--registry-hosts",
        metavar="FOLDER",
        help="Folder of hosts.toml files, such as containerd's certs.d.",
    ),
]
RegistryCas = Annotated[
    list[Path] | None,
    typer.Option(
        "--registry-ca",
        metavar="FILE",
        help="CA certificates in PEM to trust in addition to the system's.",
    ),
]
RegistryClientCerts = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-client-cert",
        metavar="HOST=CERT[:KEY]",
        help="PEM client certificate to present to HOST.",
    ),
]
RegistryAuth = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-auth",
        metavar="HOST=LOGIN|FILE",
        envvar="IMAGER_REGISTRY_AUTH",
        show_envvar=True,
        help="Login to use before the stored ones: HOST=USER:PASSWORD, HOST=@FILE (@- is standard "
        "input), or a file: Docker's config.json, .dockercfg, or a pull secret of Kubernetes.",
    ),
]
LayerCacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--layer-cache",
        "--image-layer-cache-path",
        metavar="FOLDER",
        help="Folder of blobs that runs share: a blob in it is not fetched again.",
    ),
]
CosignSignatures = Annotated[
    bool,
    typer.Option(
        "--cosign-signatures/--no-cosign-signatures",
        help="Also cache the signatures of images in registries.",
    ),
]
MissingPlatforms = Annotated[
    Literal["fail", "warn"],
    typer.Option(
        "--missing-platform",
        help="What to do when an image lacks some of several platforms: fail, or warn and cache "
        "the others.",
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=100,
        show_default="5",
        help="How often to repeat a failed request.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", "-j", metavar="N", min=1, max=64, help="How many transfers run at a time."
    ),
]
_LIST = "images with commas between them, files with one image per line, or - for standard input"
ImageLists = Annotated[
    list[str],
    typer.Option(
        "--images",
        metavar="LIST",
        help=f"Images: {_LIST}. An image is a registry reference, or a local image: "
        "[NAME=]oci:FOLDER[:TAG], [NAME=]oci-archive:FILE[:TAG], "
        "[NAME=]docker-archive:FILE[:REF] or NAME=dir:FOLDER.",
    ),
]
RequiredImages = Annotated[
    list[str] | None,
    typer.Option(
        "--require-images",
        metavar="LIST",
        help=f"Fail unless the cache has these images: {_LIST}.",
    ),
]
KeptImages = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="LIST", help=f"Keep only these images: {_LIST}."),
]
RemovedImages = Annotated[
    list[str] | None,
    typer.Option("--remove", metavar="LIST", help=f"Remove these images: {_LIST}."),
]
TalosVersion = Annotated[
    str | None,
    typer.Option(
        "--talos-version",
        metavar="VERSION",
        show_default="v1.9.0",
        help="Talos release.",
    ),
]


@dataclass(frozen=True, slots=True)
class Display:
    """The options on what appears on the screen, which every command has."""

    PANEL: ClassVar[str] = DISPLAY

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings, errors and answers.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print every request to a registry.")
    ] = False
    progress: Annotated[
        ProgressStyle, typer.Option(help="How to show progress, on standard error.")
    ] = ProgressStyle.AUTO
    no_color: Annotated[
        bool,
        typer.Option(
            # support/reporter.py looks at it, so that errors in options have no color either.
            NO_COLOR,
            help="Print without colors, like the environment variable NO_COLOR.",
        ),
    ] = False

    @property
    def style(self) -> ProgressStyle:
        """How progress is shown."""
        return ProgressStyle.NONE if self.quiet else self.progress

    def reporter(self) -> Reporter:
        """Return where steps, progress, warnings and, if wanted, requests go."""
        reporter = make_reporter(self.style)
        report_log(reporter, verbose=self.verbose)
        return reporter


@dataclass(frozen=True, slots=True)
class Results(Display):
    """The same for a command that has a result, as text for a person or JSON for a program."""

    json_output: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False

    def answer(self, text: Callable[[], str], json: Callable[[], str]) -> None:
        """Print what was asked for; --quiet does not keep it back."""
        typer.echo(json() if self.json_output else text())

    def summary(self, text: Callable[[], str], json: Callable[[], str]) -> None:
        """Print what was done: as text only without --quiet."""
        if self.json_output or not self.quiet:
            self.answer(text, json)


@dataclass(frozen=True, slots=True)
class PushRegistries:
    """The options on registries that are pushed to, as they were given."""

    PANEL: ClassVar[str] = "Registries"

    # The names are those of `RegistryOptions`.
    insecure: Insecure = False
    hosts_folders: RegistryHosts = None
    ca_files: RegistryCas = None
    client_certificates: RegistryClientCerts = None
    auth: RegistryAuth = None
    retries: Retries = None

    def settings(self) -> RegistrySettings:
        """Return how registries are reached, and print warnings about the options.

        Raises InputError that names all that is wrong.
        """
        from imager.oci.settings import RegistryOptions

        settings = RegistryOptions(**asdict(self)).parse()
        reporter = make_reporter(ProgressStyle.NONE)
        for warning in settings.warnings:
            reporter.warn(warning)
        return settings


@dataclass(frozen=True, slots=True)
class Registries(PushRegistries):
    """The options on registries that are pulled from: these may have mirrors."""

    mirrors: RegistryMirrors = None


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with an option for each field of its parameters that are dataclasses.

    A dataclass may name the panel of its options in `PANEL`.
    """
    own = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: each.annotation for name, each in own.items() if is_dataclass(each.annotation)
    }

    def parameters() -> Iterator[inspect.Parameter]:
        for name, parameter in own.items():
            if name not in groups:
                yield parameter.replace(annotation=_prepared(parameter.annotation, None))
                continue
            panel = getattr(groups[name], "PANEL", None)
            for field in inspect.signature(groups[name], eval_str=True).parameters.values():
                yield field.replace(
                    kind=inspect.Parameter.KEYWORD_ONLY,
                    annotation=_prepared(field.annotation, panel),
                )

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    vars(run)["__signature__"] = inspect.Signature(list(parameters()))
    return run


def _prepared(annotation: Any, panel: str | None) -> Any:
    """Return the annotation of an option, shown in `panel`.

    Whether a file may be read shows when it is read: typer would make it an error of the options.
    """
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, option = get_args(annotation)
    option = copy.copy(option)
    option.readable = False
    option.rich_help_panel = option.rich_help_panel or panel
    return Annotated[kind, option]


def parse_version(
    text: str | None, reporter: Reporter, *, name: str = "--talos-version"
) -> Version:
    """Parse the option `name`, without one the default; warns of a release newer than the rules.

    Raises InputError for what is no version.
    """
    from imager.talos.version import DEFAULT_VERSION, TalosVersion

    with naming(name):
        version = TalosVersion.parse(DEFAULT_VERSION if text is None else text)
    for warning in version.warnings:
        reporter.warn(warning)
    return version


def parse_platforms(texts: list[str] | None) -> tuple[Platform, ...]:
    """Parse --platform; an empty tuple means all. Raises InputError for an invalid platform."""
    from imager.cache.selection import Selection

    return Selection.parse(texts).platforms if texts else ()
