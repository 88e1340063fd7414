"""Requests that a registry rejected: as data, and as errors for the user.

OCI distribution specification 1.1, section Error Codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from imager.oci.authorization import login_hint
from imager.oci.documents import load_fields
from imager.oci.errors import AccessDeniedError, NotFoundError, RegistryFailedError
from imager.oci.reference import Reference
from imager.oci.retry import READING, RETRIED, BusyError, Patience, asked_pause
from imager.oci.routing import Route
from imager.oci.transport import Response, read_bounded
from imager.support.errors import DependencyError, ImagerError, InputError
from imager.support.units import KIB

_LONGEST_SAID = 200


class RefusedError(DependencyError):
    """The registry rejected the request; a retry does not help."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A response with an unexpected status to a request for `path` of the image `reference`.

    `errors` are the codes and messages of the registry's error document; `pause` is the delay it
    requests, in seconds.
    """

    reference: Reference
    method: str
    path: str
    status: int
    errors: tuple[tuple[str, str], ...]
    pause: float

    @classmethod
    def of(cls, response: Response, route: Route, patience: Patience) -> Failure:
        """Parse a response; reads its body."""
        return cls(
            route.reference,
            route.request.method,
            route.request.path,
            response.status,
            _errors(response),
            asked_pause(response.headers, patience),
        )

    def error(self) -> ImagerError:
        """Return the error for the user."""
        return self._pull_error() if self.method in READING else self._push_error()

    def _pull_error(self) -> ImagerError:
        itself = self.path == f"manifests/{self.reference.target}"
        what = str(self.reference) if itself else f"{self.reference} ({self.path})"
        match self.status:
            case 404:
                return NotFoundError(
                    f"{what} is not in the registry{self._said}",
                    hint="check the image's name and its tag or digest, or log in: some "
                    "registries hide private images",
                )
            case 401 | 403:
                return AccessDeniedError(
                    f"{what}: the registry refuses access: HTTP {self.status}{self._said}",
                    hint=login_hint(self.reference.registry),
                )
            case 429:
                return RegistryFailedError(
                    f"{what}: the registry limits the rate of pulls{self._said}",
                    hint=f"wait, or log in with: docker login {self.reference.registry}",
                )
        return RegistryFailedError(
            f"{what}: the registry failed: HTTP {self.status}{self._said}",
            hint="try again later, or ask who runs the registry",
        )

    def _push_error(self) -> ImagerError:
        registry = self.reference.registry
        what = f"{self.reference}: HTTP {self.status}{self._said}"
        match self.status:
            case 404:
                return NotFoundError(
                    f"{registry} has no such repository: {what}",
                    hint="check the name; some registries need the repository or project to be "
                    "created first",
                )
            case 401 | 403:
                return AccessDeniedError(
                    f"{registry} refuses to take {what}", hint=login_hint(registry)
                )
            case 413:
                return InputError(
                    f"{registry} does not accept requests as large as those for {what}",
                    hint="pass a smaller --chunk-size, or raise the limit of the proxy before the "
                    "registry",
                )
            case status if status in RETRIED:
                return BusyError(
                    f"{registry} failed to take {what}",
                    hint="run the command again later: blobs that arrived are not sent again",
                    pause=self.pause,
                )
        return RefusedError(
            f"{registry} does not take {what}", hint="ask who runs the registry what it accepts"
        )

    @property
    def _said(self) -> str:
        """The registry's own message, made safe for a terminal."""
        text = "; ".join(message for _, message in self.errors)
        shown = "".join(char for char in text if char.isprintable())[:_LONGEST_SAID]
        return f": {shown}" if shown else ""


def _errors(response: Response) -> tuple[tuple[str, str], ...]:
    try:
        errors = load_fields(read_bounded(response, 64 * KIB), where="error").children("errors")
        # Some registries use numbers as codes.
        return tuple((str(each.values.get("code", "")), each.text("message")) for each in errors)
    except ImagerError:
        return ()
