"""Settings of registry access: the options as given, and the parsed settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from imager.oci.credentials import Credential, CredentialChain, CredentialStore
from imager.oci.endpoint import Hosts, mirror_root
from imager.oci.errors import InvalidRegistrySettingsError
from imager.oci.pins import Pins
from imager.oci.reference import DOCKER_HUB, is_registry
from imager.oci.retry import Patience
from imager.oci.tls import ClientCertificate, TlsSettings
from imager.support.errors import ImagerError
from imager.support.inputs import read_input

if TYPE_CHECKING:
    from imager.oci.hosts_toml import RegistryHosts

_T = TypeVar("_T")
_V = TypeVar("_V")
_LONGEST_SECRET = 1 << 16
_AUTH_HINT = "write --registry-auth HOST=USER:PASSWORD, HOST=@FILE, HOST=@- or FILE"


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """The hosts of registries, the credentials and the limits of retries.

    `warnings` concern the options, one sentence each. `pins` are the digests that stand for tags.
    """

    hosts: Hosts = field(default_factory=Hosts)
    credentials: CredentialChain = field(default_factory=CredentialChain)
    patience: Patience = field(default_factory=Patience)
    warnings: tuple[str, ...] = ()
    pins: Pins = field(default_factory=Pins)

    def with_insecure(self) -> RegistrySettings:
        """Return these settings with plain HTTP allowed and certificate checks disabled."""
        return replace(self, hosts=self.hosts.with_insecure())


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """The options as given.

    `mirrors` are REGISTRY=URL, `client_certificates` HOST=CERT[:KEY]; `auth` is HOST=USER:PASSWORD,
    HOST=@FILE for a file with USER:PASSWORD (`-` is standard input), or a file in the format of
    Docker's config.json.
    """

    insecure: bool = False
    mirrors: Sequence[str] | None = None
    hosts_folders: Sequence[Path] | None = None
    ca_files: Sequence[Path] | None = None
    client_certificates: Sequence[str] | None = None
    auth: Sequence[str] | None = None
    retries: int | None = None

    def parse(self) -> RegistrySettings:
        """Parse the options; reads and checks the files they name.

        Raises one InputError for all problems.
        """
        problems = _Problems()
        certificates = problems.each(self.client_certificates or (), _client_certificate)
        tls = TlsSettings(ca_files=tuple(self.ca_files or ()))
        own = TlsSettings(client_certificates=tuple(found for _, found in certificates))
        problems.found += [
            text for found in problems.each([tls | own], TlsSettings.problems) for text in found
        ]
        folders = problems.each(self.hosts_folders or (), _hosts_folder)
        hosts = Hosts(
            mirrors=_grouped(problems.each(self.mirrors or (), _mirror)),
            # The first folder with a registry wins.
            folders={
                name: hosts.configs
                for folder in reversed(folders)
                for name, hosts in folder.items()
            },
            tls=tls,
            client_certificates=dict(certificates),
        )
        credentials = CredentialChain(tuple(problems.each(self.auth or (), _credentials)))
        problems.raise_any()
        patience = Patience() if self.retries is None else Patience(retries=self.retries)
        warnings = (
            text for folder in folders for each in folder.values() for text in each.warnings
        )
        settings = RegistrySettings(hosts, credentials, patience, tuple(warnings))
        return settings.with_insecure() if self.insecure else settings


class _Problems:
    """Collects the problems of several options, to report them together."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.hint = ""
        self.cause: BaseException | None = None

    def each(self, values: Iterable[_V], parse: Callable[[_V], _T]) -> list[_T]:
        parsed = []
        for value in values:
            try:
                parsed.append(parse(value))
            except ImagerError as error:
                self.found.append(error.message)
                self.hint = self.hint or error.hint
                self.cause = self.cause or error.__cause__
        return parsed

    def raise_any(self) -> None:
        if len(self.found) == 1:
            raise InvalidRegistrySettingsError(self.found[0], hint=self.hint) from self.cause
        if self.found:
            listed = "".join(f"\n  {problem}" for problem in self.found)
            raise InvalidRegistrySettingsError(
                f"{len(self.found)} problems with the registry options:{listed}"
            ) from self.cause


def _mirror(text: str) -> tuple[str, str]:
    registry, url = _named(text, "--registry-mirror", "REGISTRY=URL")
    return registry, mirror_root(url)


def _client_certificate(text: str) -> tuple[str, ClientCertificate]:
    host, files = _named(text, "--registry-client-cert", "HOST=CERT[:KEY]")
    certificate, _, key = files.partition(":")
    return host, ClientCertificate(Path(certificate), Path(key) if key else None)


def _named(text: str, option: str, form: str) -> tuple[str, str]:
    """Split REGISTRY=REST into the registry and the rest."""
    registry, equals, rest = text.partition("=")
    if not equals or not rest or not is_registry(registry):
        raise InvalidRegistrySettingsError(
            f"{option} {text[:200]!r} is not {form}", hint=f"write {option} {form}"
        )
    return DOCKER_HUB if registry == "index.docker.io" else registry, rest


def _credentials(text: str) -> CredentialStore:
    registry, equals, rest = text.partition("=")
    # A path with `=` usually does not start with a registry name; if it does, write it with ./.
    if not equals or not is_registry(registry):
        # Do not show the text: it may contain a password.
        if (":" in text or equals) and not Path(text).exists():
            raise InvalidRegistrySettingsError(
                "--registry-auth: the registry of the login is missing", hint=_AUTH_HINT
            )
        return CredentialStore.open(Path(text))
    login = _secret(rest[1:]) if rest.startswith("@") else rest
    username, colon, password = login.partition(":")
    if not colon or not username or not password:
        raise InvalidRegistrySettingsError(
            f"--registry-auth for {registry} is not USER:PASSWORD", hint=_AUTH_HINT
        )
    return CredentialStore.of(registry, Credential(username, password))


def _secret(source: str) -> str:
    """Return the first line of a file or standard input, without its end."""
    text = read_input(source, what="--registry-auth file", limit=_LONGEST_SECRET)
    return text.partition("\n")[0].removesuffix("\r")


def _hosts_folder(folder: Path) -> dict[str, RegistryHosts]:
    from imager.oci.hosts_toml import read_hosts_folder

    return read_hosts_folder(folder)


def _grouped(mirrors: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for registry, root in mirrors:
        grouped[registry] = (*grouped.get(registry, ()), root)
    return grouped
