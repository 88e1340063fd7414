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
        "imager/oci/remote.py",
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
        "imager/oci/authkeys.py",
        "return len(self.path), self.host == registry",
        "return 0, self.host == registry",
        (f"{_CREDENTIALS}::test_the_longest_path_above_a_repository_counts",),
    ),
    Mutant(
        "a login goes to hosts whose names begin alike",
        "imager/oci/authkeys.py",
        "return pattern == host",
        "return host.startswith(pattern)",
        (f"{_CREDENTIALS}::test_keys_of_others",),
    ),
    Mutant(
        "a login for a part of a registry goes to all of it",
        "imager/oci/authkeys.py",
        "if not below or not _same_host",
        "if not _same_host",
        (f"{_CREDENTIALS}::test_keys_of_others",),
    ),
    Mutant(
        "a path of the API is a part of the registry",
        "imager/oci/authkeys.py",
        "if _API.match(path) else path",
        "if not path else path",
        (f"{_CREDENTIALS}::test_keys_as_they_are_written",),
    ),
    Mutant(
        "base64 must have its padding",
        "imager/oci/authfile.py",
        '"=" * (-len(data) % 4)',
        '""',
        (f"{_CREDENTIALS}::test_base64_as_it_is_written",),
    ),
    Mutant(
        "the first of several challenges hides the others",
        "imager/oci/challenges.py",
        "        found.append(challenge)\n",
        "        found.append(challenge)\n        break\n",
        (f"{_LOGINS}::test_bearer_goes_before_basic_wherever_it_is",),
    ),
    Mutant(
        "hidden images stay hidden",
        "imager/oci/logins.py",
        "_HIDING = (403, 404)",
        "_HIDING = ()",
        (f"{_LOGINS}::test_a_stored_login_is_tried_where_private_images_are_hidden",),
    ),
    Mutant(
        "a login that cannot help is tried again",
        "imager/oci/logins.py",
        '                known = ""\n',
        "                return None\n",
        (f"{_LOGINS}::test_a_login_that_is_refused_leaves_what_is_hidden_hidden",),
    ),
    Mutant(
        "the challenge of another host is answered",
        "imager/oci/logins.py",
        "if not own or (",
        "if (",
        (f"{_LOGINS}::test_the_challenge_of_another_host_is_not_answered",),
    ),
    Mutant(
        "the login goes from TLS to a plain token server",
        "imager/oci/httptransport.py",
        "            check_scheme(here, there)\n",
        "            pass\n",
        (f"{_LOGINS}::test_a_plain_token_server_behind_tls",),
    ),
    Mutant(
        "--insecure does not take a plain token server",
        "imager/oci/httptransport.py",
        "if self._verify:",
        "if True:",
        (f"{_LOGINS}::test_a_plain_token_server_behind_tls",),
    ),
    Mutant(
        "a public registry may name internal servers",
        "imager/oci/addresses.py",
        "if internal is not None and not any(",
        "if internal is None and any(",
        (
            "tests/unit/test_oci_addresses.py::test_only_an_internal_registry_names_internal_servers",
        ),
    ),
    Mutant(
        "an internal registry may name metadata services",
        "imager/oci/addresses.py",
        "if metadata is not None:",
        "if metadata is not None and internal is None:",
        ("tests/unit/test_oci_addresses.py::test_nobody_names_a_metadata_service",),
    ),
    Mutant(
        "redirects are followed anywhere",
        "imager/oci/httptransport.py",
        "            self._check_way(url, there, first)\n",
        "",
        ("tests/unit/test_oci_addresses.py::test_nothing_is_asked_of_a_metadata_service",),
    ),
    Mutant(
        "a token server is asked wherever it is",
        "imager/oci/httptransport.py",
        "        if origin:\n            self._check_way(origin, url)\n        first",
        "        first",
        ("tests/unit/test_oci_addresses.py::test_nothing_is_asked_of_a_metadata_service",),
    ),
    Mutant(
        "a mirror is asked for another name than the token is for",
        "imager/oci/endpoint.py",
        "        repository = rewritten(reference.repository, self.rewrites)\n",
        "        repository = reference.repository\n",
        (f"{_SETTINGS}::test_rewritten_names",),
    ),
    Mutant(
        "unknown keys of hosts.toml are not mentioned",
        "imager/oci/hosts_toml.py",
        "tuple(file_model.configs(folder)), tuple(unknown))",
        "tuple(file_model.configs(folder)))",
        (f"{_SETTINGS}::test_unknown_keys_are_warnings",),
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
