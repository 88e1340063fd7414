"""What it means to the user when a registry does not give or take what it should.

OCI distribution specification 1.1, section Error Codes.
"""

from __future__ import annotations

from imager.oci.authorization import login_hint
from imager.oci.documents import load_fields
from imager.oci.reference import Reference
from imager.oci.retry import RETRIED, BusyError
from imager.oci.source import NotFoundError
from imager.oci.transport import Response, read_bounded
from imager.support.errors import DependencyError, ImagerError, InputError
from imager.support.units import KIB

_LONGEST_SAID = 200


class RefusedError(DependencyError):
    """The registry answers, and does not take it: asking again changes nothing."""


def pull_failure(response: Response, reference: Reference, path: str) -> ImagerError:
    """Return what a status means that was not expected, asking `reference` for `path`."""
    itself = path == f"manifests/{reference.target}"
    registry, what = reference.registry, str(reference) if itself else f"{reference} ({path})"
    words = _said(response)
    if response.status == 404:
        return NotFoundError(
            f"{what} is not in the registry{words}",
            hint="check the image's name and its tag or digest, or log in: some registries hide "
            "private images",
        )
    if response.status in (401, 403):
        return InputError(
            f"{what}: the registry refuses access: HTTP {response.status}{words}",
            hint=login_hint(registry),
        )
    if response.status == 429:
        return DependencyError(
            f"{what}: the registry limits the rate of pulls{words}",
            hint=f"wait, or log in with: docker login {registry}",
        )
    return DependencyError(
        f"{what}: the registry failed: HTTP {response.status}{words}",
        hint="try again later, or ask who runs the registry",
    )


def push_failure(response: Response, reference: Reference, *, pause: float) -> ImagerError:
    """Return what a status means that was not expected of a POST, PATCH or PUT.

    `pause` are the seconds for which the registry asks.
    """
    registry, status = reference.registry, response.status
    what = f"{reference}: HTTP {status}{_said(response)}"
    if status == 404:
        return NotFoundError(
            f"{registry} has no place for {what}",
            hint="check the name, and make the repository or project in the registry if it must be",
        )
    if status in (401, 403):
        return InputError(f"{registry} refuses to take {what}", hint=login_hint(registry))
    if status == 413:
        return InputError(
            f"{registry} takes no request as large as those for {what}",
            hint="pass a smaller --chunk-size, or raise the limit of the proxy before the registry",
        )
    if status in RETRIED:
        return BusyError(
            f"{registry} failed to take {what}",
            hint="run the command again later: what is there already is not sent twice",
            pause=pause,
        )
    return RefusedError(
        f"{registry} does not take {what}", hint="ask who runs the registry what it accepts"
    )


def _said(response: Response) -> str:
    """Return the registry's own words for an error, made safe for a terminal."""
    try:
        raw = read_bounded(response, 64 * KIB)
        errors = load_fields(raw, where="error").children("errors")
        text = "; ".join(error.text("message") for error in errors)
    except ImagerError:
        return ""
    shown = "".join(char for char in text if char.isprintable())[:_LONGEST_SAID]
    return f": {shown}" if shown else ""
