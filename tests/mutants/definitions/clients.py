"""Breaks of what tells clients of the server, and makes its certificates."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SERVE_CLIENTS = "tests/oracle/test_serve_clients.py"
_CERTIFICATES = "tests/oracle/test_cert_gen.py"
_HOSTS = "tests/unit/test_server_hosts.py"
_SERVER_MIRRORS = "tests/unit/test_server_mirrors.py"

MUTANTS = (
    Mutant(
        "a patch that is there is replaced",
        "imager/registry/patchfiles.py",
        "if os.path.lexists(path) and not _is_file_of(path, text.encode()):",
        "if False:",
        f"{_SERVE_CLIENTS}::test_the_patch_that_talosctl_writes_is_written_by_default",
    ),
    Mutant(
        "the patch of cert-gen replaces another",
        "imager/registry/certificates.py",
        "    if not force:\n        require_same(files.patch, roots)\n",
        "",
        f"{_CERTIFICATES}::test_a_patch_with_other_contents_is_not_replaced",
    ),
    Mutant(
        "clients are told of 0.0.0.0",
        "imager/registry/address.py",
        "reachable_addresses() if self.is_everywhere else (self.host,)",
        "(self.host,)",
        f"{_SERVE_CLIENTS}::test_every_address_is_in_the_default_patch",
    ),
    Mutant(
        "a hosts.toml of somebody else is replaced",
        "imager/registry/containerd_hosts.py",
        "ours = file.read(len(mark)) == mark",
        "ours = bool(mark)",
        f"{_HOSTS}::test_a_file_of_somebody_else_stops_everything",
    ),
    Mutant(
        "containerd may not ask the server for tags",
        "imager/registry/containerd_hosts.py",
        'capabilities = ["pull", "resolve"]',
        'capabilities = ["pull"]',
        f"{_HOSTS}::test_what_is_read_back_is_what_was_meant",
    ),
    Mutant(
        "all that the CA's file holds is in the patch",
        "imager/registry/mirrors.py",
        'b"".join(map(pem, found))',
        "ca",
        f"{_SERVER_MIRRORS}::test_the_ca_stands_under_the_host_in_base64_without_what_else_is_in_its_file",
    ),
    Mutant(
        "the server's key is for all to read",
        "imager/registry/certificates.py",
        "(files.key, private_pem(key), _SECRET)",
        "(files.key, private_pem(key), _PUBLIC)",
        f"{_CERTIFICATES}::test_keys_are_on_p256_belong_to_the_certificates_and_are_their_owners_alone",
    ),
    Mutant(
        "a certificate outlives its authority",
        "imager/registry/certificates.py",
        "min(lasting.end, authority.not_valid_after_utc)",
        "lasting.end",
        f"{_CERTIFICATES}::test_an_authority_of_openssl_issues_too",
    ),
    Mutant(
        "clients are told an address that is none",
        "imager/registry/announce.py",
        "if wanted and self.url is None and address.is_everywhere:",
        "if wanted and self.url is None and not address:",
        f"{_SERVE_CLIENTS}::test_what_cannot_be_told_is_refused_before_anything_is_served",
    ),
)
