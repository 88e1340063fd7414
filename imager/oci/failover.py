"""Tries the hosts of a registry in order until one succeeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from imager.oci.endpoint import Endpoint
from imager.oci.errors import WrongBytesError
from imager.support.errors import DependencyError, ImagerError, InputError, UnsupportedError

_T = TypeVar("_T")


def first_success(
    endpoints: Sequence[Endpoint], ask: Callable[[Endpoint], _T], failing: set[Endpoint]
) -> _T:
    """Return the result of `ask` for the first of `endpoints` for which it does not fail.

    Hosts in `failing` are tried last; hosts that fail are added to it. If all fail, raises an error
    of the same kind as the last one, that of the main host, with the messages of all.
    WrongBytesError is raised at once: the bytes written before it are lost.
    """
    failures: dict[Endpoint, ImagerError] = {}
    for endpoint in sorted(endpoints, key=failing.__contains__):
        try:
            return ask(endpoint)
        except WrongBytesError as error:
            if len(endpoints) == 1:
                raise
            where = f"{endpoint.host}: {error.message}"
            raise WrongBytesError(where, hint=error.hint) from error
        except (InputError, UnsupportedError, DependencyError) as error:
            failures[endpoint] = error
            # Demote hosts that fail, which cost a long wait each time, but not those that lack
            # one image.
            if isinstance(error, DependencyError):
                failing.add(endpoint)
    raise _combined(failures, main=endpoints[-1])


def _combined(failures: Mapping[Endpoint, ImagerError], *, main: Endpoint) -> ImagerError:
    failure = failures[main]
    if len(failures) == 1:
        return failure
    said = "; ".join(
        error.message if endpoint.host in error.message else f"{endpoint.host}: {error.message}"
        for endpoint, error in failures.items()
    )
    return type(failure)(said, hint=failure.hint)
