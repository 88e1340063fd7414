"""The errors for requests that a registry rejected.

OCI distribution specification 1.1, section Error Codes.
"""

from __future__ import annotations

from imager.oci.authorization import login_hint
from imager.oci.documents import load_fields
from imager.oci.errors import AccessDeniedError, NotFoundError, RegistryFailedError
from imager.oci.httpretry import asked_pause
from imager.oci.retry import READING, RETRIED, BusyError, Patience
from imager.oci.routing import Route
from imager.oci.transport import Response, read_bounded
from imager.support.errors import DependencyError, ImagerError, InputError
from imager.support.units import KIB

_LONGEST_SAID = 200


class RefusedError(DependencyError):
    """The registry rejected the request; a retry does not help."""


def failure_of(response: Response, route: Route, patience: Patience) -> ImagerError:
    """Return the error for a response with an unexpected status; reads its body."""
    said = _said(response)
    if route.request.method in READING:
        return _pull_error(route, response.status, said)
    pause = asked_pause(response.headers, patience)
    return _push_error(route, response.status, said, pause)


def _pull_error(route: Route, status: int, said: str) -> ImagerError:
    path, reference = route.request.path, route.reference
    what = str(reference)
    if path != f"manifests/{reference.target}":
        what = f"{reference} ({path})"
    match status:
        case 404:
            return NotFoundError(
                f"{what} is not in the registry{said}",
                hint="check the image's name and its tag or digest, or log in: some registries "
                "hide private images",
            )
        case 401 | 403:
            return _denied(what, route, status, said)
        case 429:
            return RegistryFailedError(
                f"{what}: the registry limits the rate of pulls{said}",
                hint=f"wait, or log in with: docker login {route.registry}",
            )
    return RegistryFailedError(
        f"{what}: the registry failed: HTTP {status}{said}",
        hint="try again later, or contact the operator of the registry",
    )


def _push_error(route: Route, status: int, said: str, pause: float) -> ImagerError:
    what = str(route.reference)
    match status:
        case 404:
            return NotFoundError(
                f"{what}: the registry has no such repository: HTTP {status}{said}",
                hint="check the name; some registries require the repository or project to "
                "be created first",
            )
        case 401 | 403:
            return _denied(what, route, status, said)
        case 413:
            return InputError(
                f"{what}: the registry does not accept requests this large: HTTP {status}{said}",
                hint="pass a smaller --chunk-size, or raise the limit of the proxy in front of "
                "the registry",
            )
        case status if status in RETRIED:
            return BusyError(
                f"{what}: the registry failed: HTTP {status}{said}",
                hint="run the command again later: it does not send uploaded blobs again",
                pause=pause,
            )
    return RefusedError(
        f"{what}: the registry rejected the push: HTTP {status}{said}",
        hint="ask the operator of the registry what it accepts",
    )


def _denied(what: str, route: Route, status: int, said: str) -> AccessDeniedError:
    return AccessDeniedError(
        f"{what}: the registry refuses access: HTTP {status}{said}", hint=login_hint(route.registry)
    )


def _said(response: Response) -> str:
    """Return the registry's own message after a colon, made safe for a terminal."""
    try:
        errors = load_fields(read_bounded(response, 64 * KIB), where="error").children("errors")
        text = "; ".join(each.text("message") for each in errors)
    except ImagerError:
        return ""
    shown = "".join(char for char in text if char.isprintable())[:_LONGEST_SAID]
    return f": {shown}" if shown else ""
