"""Breaks of how registries are reached: mirrors, logins, certificates."""

from __future__ import annotations

from tests.mutants.definitions import Mutant

_MIRRORS = "tests/oracle/test_oci_mirrors.py"
_SETTINGS = "tests/unit/test_oci_settings.py"
_FAULTS = "tests/unit/test_oci_registry_faults.py"
_LOGINS = "tests/unit/test_oci_registry_logins.py"
_CREDENTIALS = "tests/unit/test_oci_credentials.py"

REGISTRY_MUTANTS = (
    Mutant(
        "a host that failed is asked first again",
        "imager/oci/failover.py",
        "sorted(endpoints, key=self._failing.__contains__)",
        "endpoints",
        (_MIRRORS,),
    ),
    Mutant(
        "a mirror is not told the registry's name",
        "imager/oci/endpoint.py",
        "if not self.is_mirror:",
        "if True:",
        (_MIRRORS,),
    ),
    Mutant(
        "any mirror is asked what a tag is",
        "imager/oci/registry.py",
        "need = Capability.PULL if isinstance(target, Digest) else Capability.RESOLVE",
        "need = Capability.PULL",
        (_MIRRORS,),
    ),
    Mutant(
        "a client certificate goes to every host",
        "imager/oci/endpoint.py",
        "self.client_certificates.get(host)",
        "next(iter(self.client_certificates.values()), None)",
        (_SETTINGS,),
    ),
    Mutant(
        "a mistaken login is shown",
        "imager/oci/settings.py",
        'if (":" in text or equals) and not Path(text).exists():',
        "if not text:",
        (_SETTINGS,),
    ),
    Mutant(
        "a login for a part of a registry is not found",
        "imager/oci/credentials.py",
        "for length in range(len(parts), 0, -1):",
        "for length in range(0):",
        (_CREDENTIALS,),
    ),
    Mutant(
        "a secret header follows a redirect to another server",
        "imager/oci/httptransport.py",
        "if name.lower() in _HARMLESS}",
        'if name != "Authorization"}',
        (_LOGINS,),
    ),
    Mutant(
        "a broken manifest is asked for without end",
        "imager/oci/retry.py",
        "if failures > patience.retries:",
        "if failures > 4 * patience.retries:",
        (_FAULTS,),
    ),
)
