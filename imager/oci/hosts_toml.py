"""containerd's folders of registry hosts (certs.d): hosts.toml, or certificates alone.

https://github.com/containerd/containerd/blob/main/docs/hosts.md
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from imager.oci.endpoint import Capability, HostConfig, host_root
from imager.oci.errors import InvalidRegistrySettingsError
from imager.oci.rewrite import Rewrite
from imager.oci.tls import ClientCertificate, TlsSettings
from imager.support.errors import InputError, is_denied
from imager.support.units import MIB

_FILE = "hosts.toml"
# RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)

_T = TypeVar("_T")


def _header(fields: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
    for name, value in fields.items():
        text = "".join(value)
        if not _HEADER_NAME.fullmatch(name) or not (text.isascii() and text.isprintable()):
            raise ValueError(f"{name!r} is not a valid header field in printable ASCII")
    return fields


class _Host(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    capabilities: list[Capability] = []
    ca: str | list[str] = []
    client: str | list[str | tuple[str, str]] = []
    skip_verify: bool = False
    override_path: bool = False
    header: Annotated[dict[str, str | list[str]], AfterValidator(_header)] = {}
    rewrite: dict[str, str] = {}
    # Accepted and ignored: containerd's dial timeout; our own timeout serves as well.
    dial_timeout: str = ""

    def config(self, root: str, folder: Path) -> HostConfig:
        tls = TlsSettings(
            verify=not self.skip_verify,
            ca_files=tuple(folder / name for name in _listed(self.ca)),
            client_certificates=tuple(_client(each, folder) for each in _listed(self.client)),
        )
        headers = tuple(
            (name.title(), ", ".join(_listed(value))) for name, value in self.header.items()
        )
        rewrites = tuple(Rewrite.parse(*rule) for rule in self.rewrite.items())
        return HostConfig(root, frozenset(self.capabilities or Capability), tls, headers, rewrites)


class _File(_Host):
    server: str = ""
    host: dict[str, _Host] = {}

    def configs(self, folder: Path) -> Iterator[HostConfig]:
        for url, host in self.host.items():
            yield host.config(host_root(url, override_path=host.override_path), folder)
        root = host_root(self.server, override_path=self.override_path) if self.server else ""
        yield self.config(root, folder)

    def unknown(self) -> Iterator[str]:
        """Yield the unknown keys, with their tables."""
        yield from map(repr, self.model_extra or {})
        for url, host in self.host.items():
            yield from (f"{key!r} of host {url!r}" for key in host.model_extra or {})


@dataclass(frozen=True, slots=True)
class RegistryHosts:
    """The hosts of one registry in order, the registry itself last; and warnings."""

    configs: tuple[HostConfig, ...]
    warnings: tuple[str, ...] = ()


def read_hosts_folder(folder: Path) -> dict[str, RegistryHosts]:
    """Return the hosts of every registry with a subfolder of `folder`, by the subfolder's name.

    Unknown keys are warnings, as in containerd. Raises one InputError for all problems in all
    files.
    """
    found: dict[str, RegistryHosts] = {}
    problems: list[str] = []
    try:
        names = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise InvalidRegistrySettingsError(
            f"cannot read folder {folder}: {error.strerror}"
        ) from error
    for path in names:
        try:
            hosts = _read(path)
        except InputError as error:
            if is_denied(error):
                raise
            problems.append(error.message)
            continue
        problems += (each for config in hosts.configs for each in config.tls.problems())
        found[path.name] = hosts
    if problems:
        raise InvalidRegistrySettingsError("\n  ".join(problems))
    return found


def _read(folder: Path) -> RegistryHosts:
    path = folder / _FILE
    try:
        with path.open("rb") as file:
            raw = file.read(MIB + 1)
    except FileNotFoundError:
        raw = b""
    except OSError as error:
        raise InvalidRegistrySettingsError(f"cannot read {path}: {error.strerror}") from error
    if not raw:
        return RegistryHosts((HostConfig(tls=_certificates(folder)),))
    if len(raw) > MIB:
        raise InvalidRegistrySettingsError(f"{path} is larger than 1 MiB")
    try:
        file_model = _File.model_validate(tomllib.loads(raw.decode("utf-8")))
        unknown = (f"{path}: unknown key {key} is ignored" for key in file_model.unknown())
        return RegistryHosts(tuple(file_model.configs(folder)), tuple(unknown))
    except ValidationError as error:
        raise InvalidRegistrySettingsError(
            "\n  ".join(f"{path}: {each}" for each in _told(error))
        ) from error
    except InputError as error:
        raise InvalidRegistrySettingsError(f"{path}: {error.message}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRegistrySettingsError(f"{path} is not valid TOML: {error}") from error


def _certificates(folder: Path) -> TlsSettings:
    """Return the certificates that Docker reads from a folder: *.crt, and *.cert with *.key."""
    certificates = sorted(folder.glob("*.cert"))
    return TlsSettings(
        ca_files=tuple(sorted(folder.glob("*.crt"))),
        client_certificates=tuple(
            ClientCertificate(path, path.with_suffix(".key")) for path in certificates
        ),
    )


def _told(error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_url=False, include_context=False):
        yield f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"


def _listed(value: str | Sequence[_T]) -> list[str | _T]:
    return [value] if isinstance(value, str) else list(value)


def _client(value: str | tuple[str, str], folder: Path) -> ClientCertificate:
    certificate, key = (value, "") if isinstance(value, str) else value
    return ClientCertificate(folder / certificate, folder / key if key else None)
