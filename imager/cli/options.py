"""Define the options shared by several commands, in groups that are panels of the help."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, ParamSpec

import typer

from imager.cli.declare import flag, option
from imager.cli.help import DISPLAY
from imager.support.errors import InputError
from imager.support.reporter import ProgressStyle, Reporter, make_reporter, report_log
from imager.support.screen import NO_COLOR, printable

if TYPE_CHECKING:
    from imager.app.verification_policy import PolicyFiles
    from imager.cache.pull import PullOptions
    from imager.oci.platform import Platform
    from imager.oci.settings import RegistrySettings
    from imager.talos.version import TalosVersion as Version

ArchName = Literal["amd64", "arm64"]

_OUT = Path("/out")
_LOCAL_OUT = Path("_out")
DEFAULT_OUTPUT = "/out if it exists, else ./_out"


Insecure = Annotated[
    bool, flag("--insecure", "Allow plain HTTP and certificates of unknown authorities.")
]
RegistryMirrors = Annotated[
    list[str] | None,
    option(
        "REGISTRY=URL",
        "Try this mirror before the registry; mirrors are tried in the order given. "
        "A path in the URL replaces /v2.",
        "--registry-mirror",
    ),
]
RegistryHosts = Annotated[
    list[Path] | None,
    option(
        "FOLDER", "Folder of hosts.toml files, such as containerd's certs.d.", "--registry-hosts"
    ),
]
RegistryCas = Annotated[
    list[Path] | None,
    option("FILE", "CA certificates in PEM to trust in addition to the system's.", "--registry-ca"),
]
RegistryClientCerts = Annotated[
    list[str] | None,
    option(
        "HOST=CERT[:KEY]", "PEM client certificate to present to HOST.", "--registry-client-cert"
    ),
]
RegistryAuth = Annotated[
    list[str] | None,
    option(
        "HOST=LOGIN|FILE",
        "Login to use before the stored ones: HOST=USER:PASSWORD, HOST=@FILE (@- is standard "
        "input), or a file: Docker's config.json, .dockercfg, or a pull secret of Kubernetes.",
        "--registry-auth",
        envvar="IMAGER_REGISTRY_AUTH",
        show_envvar=True,
    ),
]
DIFFERENT = 1  # the exit code of diff(1)
CACHE_HELP = "Image cache: a layout, flat tree, tar, ISO, disk image, or a registry reference."
LayerCacheFolder = Annotated[
    Path | None,
    option(
        "FOLDER",
        "Folder of blobs shared between runs; blobs in it are not fetched again.",
        "--layer-cache",
        "--image-layer-cache-path",
    ),
]
Retries = Annotated[
    int | None,
    option("N", "Number of times to retry a failed request.", min=0, max=100, default="5"),
]
Jobs = Annotated[int, option("N", "Number of parallel transfers.", "--jobs", "-j", min=1, max=64)]
TrustedRootFile = Annotated[
    str | None,
    option(
        "FILE",
        "Sigstore's trusted_root.json, for rules of the policy that name an identity.",
        "--trusted-root",
    ),
]
POLICY_HELP = "Talos's ImageVerificationConfig, alone or in a machine configuration."
ChunkSize = Annotated[
    str,
    option(
        "SIZE",
        "Size of an upload request: a broken upload resumes at the last one. "
        "0 sends each blob in one request.",
    ),
]
LIST = "comma-separated images, files with one image per line, or - for standard input"
RequiredImages = Annotated[
    list[str] | None,
    option("LIST", f"Fail unless the cache has these images: {LIST}.", "--require-images"),
]
TalosVersion = Annotated[
    str | None, option("VERSION", "Talos release.", "--talos-version", default="v1.9.0")
]


_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Display:
    """The display options of every command."""

    PANEL: ClassVar[str] = DISPLAY

    quiet: Annotated[
        bool, flag("--quiet", "Print only warnings, errors and requested results.", "-q")
    ] = False
    verbose: Annotated[bool, flag("--verbose", "Also print every request to a registry.", "-v")] = (
        False
    )
    progress: Annotated[ProgressStyle, option(None, "How to show progress, on standard error.")] = (
        ProgressStyle.AUTO
    )
    # support/reporter.py reads it, so that usage errors are also printed without color.
    no_color: Annotated[
        bool, flag(NO_COLOR, "Print without colors, like the environment variable NO_COLOR.")
    ] = False

    @property
    def style(self) -> ProgressStyle:
        """The progress style."""
        return ProgressStyle.NONE if self.quiet else self.progress

    def reporter(self) -> Reporter:
        """Return the reporter of steps, progress, warnings and, if enabled, requests."""
        reporter = make_reporter(self.style)
        report_log(reporter, verbose=self.verbose)
        return reporter


@dataclass(frozen=True, slots=True)
class Results(Display):
    """The display options of a command with a result, which is printed as text or JSON."""

    json_output: Annotated[bool, flag("--json", "Print the result as JSON.")] = False

    def answer(
        self,
        text: Callable[_P, Iterable[str]],
        value: Callable[_P, Any],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> None:
        """Print the lines of the requested result or its JSON value, even with --quiet."""
        if self.json_output:
            self.print_json(value(*args, **kwargs))
        else:
            typer.echo(printable("\n".join(text(*args, **kwargs))))

    def summary(
        self,
        text: Callable[_P, Iterable[str]],
        value: Callable[_P, Any],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> None:
        """Print a summary; the text, unlike the JSON, is omitted with --quiet."""
        if self.json_output or not self.quiet:
            self.answer(text, value, *args, **kwargs)

    def summary_beside(
        self, text: Callable[_P, Iterable[str]], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Print a summary to standard error, because standard output carries the output itself."""
        if not self.quiet:
            typer.echo(printable("\n".join(text(*args, **kwargs))), err=True)

    def print_json(self, value: Any) -> None:
        """Print a value as JSON."""
        typer.echo(json.dumps(value, indent=2))


@dataclass(frozen=True, slots=True)
class PushRegistries:
    """The options for registries to push to, unparsed."""

    PANEL: ClassVar[str] = "Registries"

    # The names are those of `RegistryOptions`.
    insecure: Insecure = False
    hosts_folders: RegistryHosts = None
    ca_files: RegistryCas = None
    client_certificates: RegistryClientCerts = None
    auth: RegistryAuth = None
    retries: Retries = None

    def settings(self) -> RegistrySettings:
        """Parse the options, and print warnings about them.

        Raises InputError with all problems.
        """
        from imager.oci.settings import RegistryOptions

        settings = RegistryOptions(**asdict(self)).parse()
        reporter = make_reporter(ProgressStyle.NONE)
        reporter.warn(*settings.warnings)
        return settings

    def given(self) -> RegistrySettings | None:
        """Return `settings`, or None if there are no options: few builds need a registry."""
        return None if self == type(self)() else self.settings()


@dataclass(frozen=True, slots=True)
class Registries(PushRegistries):
    """The options for registries to pull from, which may have mirrors."""

    mirrors: RegistryMirrors = None

    def pulling(self, layer_cache: Path | None) -> PullOptions:
        """Return the options for pulling caches; raises as `settings`."""
        from imager.cache.pull import PullOptions

        return PullOptions(self.settings(), layer_cache)


def policy_files(policy: str | None, root: str | None, *, option: str) -> PolicyFiles | None:
    """Return the files of a verification policy, None without one; `option` names the policy.

    Raises InputError for a trusted root without a policy.
    """
    if policy is None:
        if root is not None:
            raise InputError(f"--trusted-root has no effect without {option}")
        return None
    from imager.app.verification_policy import PolicyFiles

    return PolicyFiles(policy, root)


def default_output() -> Path:
    """Return the folder for outputs if none is given: /out, as in containers, else ./_out."""
    return _OUT if _OUT.is_dir() else _LOCAL_OUT


def parse_version(
    text: str | None, reporter: Reporter | None = None, *, name: str = "--talos-version"
) -> Version:
    """Parse the version given by the option `name`; None means the default.

    Warns `reporter` of a release newer than the known rules. Raises InputError for an invalid
    version.
    """
    from imager.talos.version import DEFAULT_VERSION, TalosVersion

    try:
        version = TalosVersion.parse(DEFAULT_VERSION if text is None else text)
    except InputError as error:
        raise InputError(f"{name}: {error.message}", hint=error.hint) from error
    if reporter:
        reporter.warn(*version.warnings)
    return version


def parse_platforms(texts: list[str] | None) -> tuple[Platform, ...]:
    """Parse --platform; an empty tuple means all. Raises InputError for an invalid platform."""
    from imager.cache.selection import parse_platforms

    return parse_platforms(texts) if texts else ()
