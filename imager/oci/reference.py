"""Image references, by the grammar of https://github.com/distribution/reference.

    reference := name [":" tag] ["@" digest]
    name      := [domain "/"] path
    domain    := host [":" port]

Docker Hub's short names are expanded as in every container engine: `alpine` is
`docker.io/library/alpine:latest`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from imager.oci.digest import Digest
from imager.oci.errors import InvalidReferenceError
from imager.support.errors import ImagerError, InputError

DOCKER_HUB = "docker.io"
# The names of Docker Hub in references, settings and credentials.
HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_DEFAULT_TAG = "latest"
_LONGEST_NAME = 255
_LONGEST_REFERENCE = 1024

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_DOMAIN = re.compile(rf"{_HOST}(?::[0-9]+)?", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}", re.ASCII)
_HINT = "write it as registry/repository:tag or registry/repository@sha256:<hex>"


@dataclass(frozen=True, slots=True)
class Reference:
    """A full reference: `registry` (host[:port]), `repository`, and a tag, a digest or both.

    Create references with `parse`, which checks them.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse and expand a reference; the tag is `latest` when it has neither tag nor digest.

        Raises InputError when it does not parse, UnsupportedError for a digest that is not SHA-256.
        """
        reference = _parse(text)
        if reference.tag is None and reference.digest is None:
            return replace(reference, tag=_DEFAULT_TAG)
        return reference

    @classmethod
    def parse_strict(cls, text: str) -> Reference:
        """Parse a complete reference, without defaults.

        Raises InputError when the registry, or both tag and digest, are missing.
        """
        reference = _parse(text)
        if not has_registry(text):
            raise _invalid(text, "the registry is missing")
        if reference.tag is None and reference.digest is None:
            raise _invalid(text, "the tag or digest is missing")
        return reference

    @property
    def name(self) -> str:
        """`registry/repository`."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str | Digest:
        """The name of the manifest in its repository: the digest if there is one, else the tag."""
        return self.digest or self.tag or _DEFAULT_TAG

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def is_strict_reference(text: str) -> bool:
    """Return whether `parse_strict` accepts `text`, to tell a registry reference from a path."""
    try:
        Reference.parse_strict(text)
    except ImagerError:
        return False
    return True


def is_registry(text: str) -> bool:
    """Return whether `text` is a valid name of a registry: host[:port]."""
    return bool(_DOMAIN.fullmatch(text)) and _address_is_valid(text)


def is_repository(text: str) -> bool:
    """Return whether `text` is a valid name of a repository."""
    return len(text) <= _LONGEST_NAME and bool(_PATH.fullmatch(text))


def is_tag(text: str) -> bool:
    """Return whether `text` is a valid tag."""
    return bool(_TAG.fullmatch(text))


def _parse(text: str) -> Reference:
    if len(text) > _LONGEST_REFERENCE:
        raise InvalidReferenceError(f"image reference {text[:60]!r}... is too long", hint=_HINT)
    rest, at, digest_text = text.partition("@")
    try:
        digest = Digest.parse(digest_text) if at else None
    except ImagerError as error:
        raise type(error)(f"image reference {text!r}: {error.message}", hint=error.hint) from error
    name, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(text, f"{tag!r} is not a tag")
    if _IDENTIFIER.fullmatch(name):
        raise _invalid(text, "64 hexadecimal digits are an image id, not a name")
    registry, repository = _split_domain(name)
    if not is_registry(registry):
        raise _invalid(text, f"{registry!r} is not a registry")
    if not _PATH.fullmatch(repository):
        lower = " (it must be lower case)" if _PATH.fullmatch(repository.lower()) else ""
        raise _invalid(text, f"{repository!r} is not a repository name{lower}")
    if len(registry) + 1 + len(repository) > _LONGEST_NAME:
        raise _invalid(text, f"the name is longer than {_LONGEST_NAME} characters")
    return Reference(registry, repository, tag, digest)


def _invalid(text: str, why: str) -> InputError:
    return InvalidReferenceError(f"image reference {text!r}: {why}", hint=_HINT)


def _split_tag(text: str) -> tuple[str, str | None]:
    colon = text.rfind(":")
    # A colon before a slash precedes a port.
    if colon <= text.rfind("/"):
        return text, None
    return text[:colon], text[colon + 1 :]


def has_registry(text: str) -> bool:
    """Return whether a reference starts with a registry: a host with dot or port, or localhost."""
    first, slash, _ = text.partition("/")
    return bool(slash) and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )


def _split_domain(name: str) -> tuple[str, str]:
    registry, repository = DOCKER_HUB, name
    if has_registry(name):
        registry, _, repository = name.partition("/")
    if registry == "index.docker.io":
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _address_is_valid(registry: str) -> bool:
    address, _, rest = registry.rpartition("]")
    _, colon, port = rest.rpartition(":")
    if colon and not 0 < int(port) < 1 << 16:
        return False
    try:
        return not address or bool(ipaddress.IPv6Address(address[1:]))
    except ValueError:
        return False
