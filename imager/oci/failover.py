"""Asking one host after the other, until one has what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from imager.oci.endpoint import Endpoint
from imager.oci.errors import WrongBytesError
from imager.support.errors import DependencyError, ImagerError, InputError, UnsupportedError

_T = TypeVar("_T")


class Failover:
    """Goes from host to host; those that have failed are asked after all others from then on."""

    def __init__(self) -> None:
        self._failing: set[Endpoint] = set()

    def first(self, endpoints: Sequence[Endpoint], ask: Callable[[Endpoint], _T]) -> _T:
        """Return what `ask` returns for the first of `endpoints` for which it does not fail.

        Raises an error of the kind that the last one gave, the main one, which tells those of
        all. WrongBytesError is raised at once: what was written before it is lost.
        """
        failures: dict[Endpoint, ImagerError] = {}
        for endpoint in sorted(endpoints, key=self._failing.__contains__):
            try:
                return ask(endpoint)
            except WrongBytesError as error:
                if len(endpoints) == 1:
                    raise
                where = f"{endpoint.host}: {error.message}"
                raise WrongBytesError(where, hint=error.hint) from error
            except (InputError, UnsupportedError, DependencyError) as error:
                failures[endpoint] = error
                # It would cost a long wait each time; one that lacks an image may have the next.
                if isinstance(error, DependencyError):
                    self._failing.add(endpoint)
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
