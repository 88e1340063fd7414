"""Breaks of what tells clients of the server, and makes its certificates."""

from __future__ import annotations

from tests.mutants.definitions import Mutant


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/server/{file}", old, new, tuple(f"tests/{test}" for test in tests))


_HOSTS = "unit/test_server_hosts.py"
_CERTIFICATES = "oracle/test_cert_gen.py"

CLIENTS = (
    _mutant(
        "a patch that is there is replaced",
        "patchfiles.py",
        "if os.path.lexists(path) and not _is_file_of(path, text.encode()):",
        "if False:",
        "oracle/test_serve_clients.py::test_the_patch_that_talosctl_writes_is_written_by_default",
    ),
    _mutant(
        "the patch of cert-gen replaces another",
        "certificates.py",
        "    if not force:\n        require_same(files.patch, roots)\n",
        "",
        f"{_CERTIFICATES}::test_a_patch_with_other_contents_is_not_replaced",
    ),
    _mutant(
        "clients are told of 0.0.0.0",
        "address.py",
        "reachable_addresses() if self.is_everywhere else (self.host,)",
        "(self.host,)",
        "oracle/test_serve_clients.py::test_every_address_is_in_the_default_patch",
    ),
    _mutant(
        "a hosts.toml of somebody else is replaced",
        "hosts.py",
        "ours = file.read(len(mark)) == mark",
        "ours = bool(mark)",
        f"{_HOSTS}::test_a_file_of_somebody_else_stops_everything",
    ),
    _mutant(
        "containerd may not ask the server for tags",
        "hosts.py",
        'capabilities = ["pull", "resolve"]',
        'capabilities = ["pull"]',
        f"{_HOSTS}::test_what_is_read_back_is_what_was_meant",
    ),
    _mutant(
        "all that the CA's file holds is in the patch",
        "mirrors.py",
        'b"".join(map(pem, found))',
        "ca",
        "unit/test_server_mirrors.py::test_the_ca_stands_under_the_host_in_base64_without_what_"
        "else_is_in_its_file",
    ),
    _mutant(
        "the server's key is for all to read",
        "certificates.py",
        "(files.key, private_pem(key), _SECRET)",
        "(files.key, private_pem(key), _PUBLIC)",
        f"{_CERTIFICATES}::test_keys_are_on_p256_belong_to_the_certificates_and_are_their_owners_"
        "alone",
    ),
    _mutant(
        "a certificate outlives its authority",
        "certificates.py",
        "min(lasting.end, authority.not_valid_after_utc)",
        "lasting.end",
        f"{_CERTIFICATES}::test_an_authority_of_openssl_issues_too",
    ),
)
