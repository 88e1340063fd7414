"""Parses the path and query of a request; they never name a file.

The paths are those of the OCI distribution specification 1.1, with containerd's `?ns=`
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from imager.oci.digest import Digest
from imager.oci.reference import is_repository, is_tag
from imager.support.errors import ImagerError

_MOST_PARAMETERS = 16


@dataclass(frozen=True, slots=True)
class Health:
    """The health check, `/healthz`."""


@dataclass(frozen=True, slots=True)
class Base:
    """The API version check, `/v2/`."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list: at most `count` entries, those after `last`."""

    count: int | None = None
    last: str = ""


@dataclass(frozen=True, slots=True)
class RepositoryList:
    """The names of all repositories, `/v2/_catalog`; None for all registries."""

    namespace: str | None
    page: Page


@dataclass(frozen=True, slots=True)
class Name:
    """A repository, in the registry `namespace` if the client names one."""

    name: str
    namespace: str | None


@dataclass(frozen=True, slots=True)
class TagList:
    """The tags of a repository."""

    repository: Name
    page: Page


@dataclass(frozen=True, slots=True)
class ManifestTarget:
    """The manifest with a tag or a digest."""

    repository: Name
    target: str | Digest


@dataclass(frozen=True, slots=True)
class BlobTarget:
    """A blob of any repository."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Referrers:
    """The manifests with the subject `digest`."""

    repository: Name
    digest: Digest
    artifact_type: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the target does not exist: an HTTP status, the specification's error code, a sentence."""

    status: int
    code: str
    message: str


DocumentTarget = Health | Base | RepositoryList | TagList | ManifestTarget | Referrers | Refusal
Target = DocumentTarget | BlobTarget
_NOTHING = Refusal(404, "UNSUPPORTED", "this path does not exist")


class _RefusedError(Exception):
    """A part of the request is not a valid name."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(status, code, message)


def parse_target(path: str, query: str) -> Target:
    """Parse a request's raw path and query.

    A request that cannot name anything is refused with 404 and an error code, so that clients try
    the next mirror.
    """
    try:
        return _parse(path, query)
    except _RefusedError as error:
        return error.refusal


def _parse(path: str, query: str) -> Target:
    # Split before decoding: an encoded slash is not a separator, and no name contains one.
    parts = [unquote(part) for part in path.split("/")]
    try:
        parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError as error:
        raise _RefusedError(400, "UNSUPPORTED", "too many query parameters") from error
    match parts:
        case ["", "healthz"] | ["", "healthz", ""]:
            return Health()
        case ["", "v2"] | ["", "v2", ""]:
            return Base()
        case ["", "v2", "_catalog"]:
            return RepositoryList(parameters.get("ns"), _page(parameters))
        case ["", "v2", *names, kind, last] if names:
            return _in_repository(names, kind, last, parameters)
        case _:
            return _NOTHING


def _in_repository(names: list[str], kind: str, last: str, parameters: dict[str, str]) -> Target:
    name = Name("/".join(names), parameters.get("ns"))
    # Reject an encoded slash, which would merge two path components.
    if any("/" in part for part in names) or not is_repository(name.name):
        raise _RefusedError(404, "NAME_INVALID", f"{name.name[:255]!r} is not a repository name")
    match kind, last:
        case "tags", "list":
            return TagList(name, _page(parameters))
        case "manifests", _:
            return ManifestTarget(name, last if is_tag(last) else _digest(last))
        case "blobs", _:
            return BlobTarget(_digest(last))
        case "referrers", _:
            return Referrers(name, _digest(last), parameters.get("artifactType"))
        case _:
            return _NOTHING


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ImagerError as error:
        raise _RefusedError(404, "DIGEST_INVALID", error.message) from error


def _page(parameters: dict[str, str]) -> Page:
    count, last = parameters.get("n"), parameters.get("last", "")
    if count is None:
        return Page(None, last)
    if not (count.isascii() and count.isdigit() and len(count) <= 9):
        raise _RefusedError(400, "PAGINATION_NUMBER_INVALID", f"n={count[:20]!r} is not a number")
    return Page(int(count), last)
