"""Breaks of how hosts are reached, and of what they are not asked."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PROXIES = "tests/unit/test_oci_connections.py"

MUTANTS = (
    Mutant(
        "networks of NO_PROXY are asked through the proxy",
        "imager/oci/connections.py",
        "any(address in network for network in _networks(listed))",
        "any(listed == str(address) for _ in _networks(listed))",
        f"{_PROXIES}::test_some_hosts_are_asked_directly",
    ),
    Mutant(
        "each request has a connection of its own",
        "imager/oci/connections.py",
        "return self._managers.get(",
        "return self._manager(",
        f"{_PROXIES}::test_connections_of_a_proxy_are_kept",
    ),
    Mutant(
        "a blob is sent in HTTP's chunks",
        "imager/oci/httptransport.py",
        "if body is not None:",
        "if body is False:",
        "tests/unit/test_oci_upload.py::test_holes_are_sent_as_zeros",
    ),
    Mutant(
        "a configuration of the layer cache is taken unchecked",
        "imager/cache/blobstore.py",
        "return data if Digest.of(data) == blob.digest else None",
        "return data",
        "tests/unit/test_imagecache_gather.py::test_a_configuration_comes_from_the_layer_cache",
    ),
    Mutant(
        "a request may last no longer than connecting",
        "imager/oci/httptransport.py",
        "Timeout(connect=connect, read=self._patience.read)",
        "Timeout(connect, self._patience.read)",
        f"{_PROXIES}::test_a_limit_is_for_connecting_or_for_silence_not_for_the_whole",
    ),
)
