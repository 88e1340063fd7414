"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imager.reporter import ProgressStyle

if TYPE_CHECKING:
    from imager.oci.platform import Platform
    from imager.oci.settings import RegistrySettings

DEFAULT_PLATFORM = "linux/amd64"

Insecure = Annotated[bool, typer.Option("--insecure", help="Allow HTTP and unknown certificates.")]
RegistryMirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-mirror",
        metavar="REGISTRY=URL",
        help="Ask this mirror before the registry. A path in the URL stands in place of /v2. "
        "May be repeated: mirrors are asked in order.",
    ),
]
RegistryHosts = Annotated[
    list[Path] | None,
    typer.Option(
        "--registry-hosts",
        metavar="FOLDER",
        help="Folder of hosts.toml files, such as containerd's certs.d. May be repeated.",
    ),
]
RegistryCas = Annotated[
    list[Path] | None,
    typer.Option(
        "--registry-ca",
        metavar="FILE",
        help="CA certificates in PEM to trust beside the system's. May be repeated.",
    ),
]
RegistryClientCerts = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-client-cert",
        metavar="HOST=CERT[:KEY]",
        help="Certificate in PEM to appear with at a host. May be repeated.",
    ),
]
RegistryAuth = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-auth",
        metavar="HOST=LOGIN|FILE",
        envvar="IMAGER_REGISTRY_AUTH",
        show_envvar=True,
        help="Login before those that are stored: HOST=USER:PASSWORD, HOST=@FILE (@- is standard "
        "input) or a file such as Docker's config.json. May be repeated.",
    ),
]
LayerCacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--layer-cache",
        "--image-layer-cache-path",
        metavar="FOLDER",
        help="Folder of blobs that runs share: what is in it is not fetched again.",
    ),
]
CosignSignatures = Annotated[
    bool,
    typer.Option(
        "--cosign-signatures/--no-cosign-signatures",
        help="Cache the signatures beside images in registries as well.",
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, max=100, help="How often a failed request is repeated; default: 5."
    ),
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, max=64, help="How many transfers at a time.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")]
Progress = Annotated[ProgressStyle, typer.Option(help="How progress is shown, on standard error.")]


@dataclass(frozen=True, slots=True)
class PushRegistries:
    """The options on registries that are pushed to, as they were given."""

    insecure: Insecure = False
    registry_hosts: RegistryHosts = None
    registry_ca: RegistryCas = None
    registry_client_cert: RegistryClientCerts = None
    registry_auth: RegistryAuth = None
    retries: Retries = None

    def settings(self) -> RegistrySettings:
        """Return how registries are reached; raises InputError that tells all that is wrong."""
        return self._settings(mirrors=())

    def _settings(self, *, mirrors: tuple[str, ...]) -> RegistrySettings:
        from imager.oci.settings import RegistryOptions

        return RegistryOptions(
            insecure=self.insecure,
            mirrors=mirrors,
            hosts_folders=tuple(self.registry_hosts or ()),
            ca_files=tuple(self.registry_ca or ()),
            client_certificates=tuple(self.registry_client_cert or ()),
            auth=tuple(self.registry_auth or ()),
            retries=self.retries,
        ).parse()


@dataclass(frozen=True, slots=True)
class Registries(PushRegistries):
    """The options on registries that are pulled from: these may have mirrors."""

    registry_mirror: RegistryMirrors = None

    def settings(self) -> RegistrySettings:
        """Return how registries are reached; raises InputError that tells all that is wrong."""
        return self._settings(mirrors=tuple(self.registry_mirror or ()))


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with an option for each field of its parameters that are dataclasses."""
    own = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: each.annotation for name, each in own.items() if is_dataclass(each.annotation)
    }

    def parameters() -> Iterator[inspect.Parameter]:
        for name, parameter in own.items():
            if name not in groups:
                yield parameter
                continue
            for field in inspect.signature(groups[name], eval_str=True).parameters.values():
                yield field.replace(kind=inspect.Parameter.KEYWORD_ONLY)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    vars(run)["__signature__"] = inspect.Signature(list(parameters()))
    return run


def parse_platforms(texts: list[str] | None) -> tuple[Platform, ...]:
    """Return the platforms of an option, none for `all`; raises InputError for what is none."""
    from imager.imagecache.gather import Selection

    return Selection.parse(texts).platforms if texts else ()
