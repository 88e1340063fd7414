"""Whom firmware trusts, judged by OpenSSL with the flags of EDK II, and by sbverify.

EDK II verifies with X509_V_FLAG_PARTIAL_CHAIN, X509_V_FLAG_NO_CHECK_TIME and X509_PURPOSE_ANY.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from imager.content.extents import Content
from imager.efi.authenticode import SPC_INDIRECT_DATA, sign_pe, split_image
from imager.efi.authenticode_read import read_signatures
from imager.efi.pkcs7 import sign_attached
from imager.efi.signer import FileSigner
from imager.efi.spc import indirect_data
from imager.efi.trust import is_trusted
from tests.lib.keys.chains import PSS, Owner, basic, new_key, owner, usage, with_certificates
from tests.lib.keys.pe_stub import SECURITY_DIRECTORY, patched, pe_stub
from tests.lib.keys.signing_keys import issued, pss_keys, pss_signer, self_signed
from tests.lib.tools.cli import real_assets, tool
from tests.lib.tools.support import write_content

pytestmark = pytest.mark.oracle

# From the signer up to what is trusted; what is between comes with the signature.
Chain = Sequence[Owner]


@pytest.fixture(scope="module", name="keys")
def three_keys() -> tuple[RSAPrivateKey, ...]:
    return tuple(new_key() for _ in range(3))


def made(keys: Sequence[RSAPrivateKey], *levels: Sequence[x509.ExtensionType]) -> Chain:
    """Return a chain with the extensions of each level, the one at the top first."""
    chain: list[Owner] = []
    for number, (key, extensions) in enumerate(zip(keys, levels, strict=False)):
        by = chain[-1] if chain else None
        chain.append(owner(f"level {number}", key, *extensions, by=by))
    return chain[::-1]


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
OTHERS = x509.NameConstraints(
    [x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE")]))], None
)
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
LEAF = (basic(ca=False),)
CHAINS: dict[str, Callable[[Sequence[RSAPrivateKey]], Chain]] = {
    "itself": lambda keys: made(keys, LEAF),
    "itself, without extensions": lambda keys: made(keys, ()),
    "itself, expired": lambda keys: [owner("old", keys[0], basic(), days=1)],
    "itself, for servers": lambda keys: made(keys, (*LEAF, SERVER)),
    "itself, for key agreement": lambda keys: made(keys, (*LEAF, usage("key_agreement"))),
    "itself, with an unknown critical extension": lambda keys: made(keys, (*LEAF, UNKNOWN)),
    "authority": lambda keys: made(keys, (basic(),), LEAF),
    "authority that may sign": lambda keys: made(keys, (basic(), usage("key_cert_sign")), LEAF),
    "authority that may not sign": lambda keys: made(keys, (basic(), usage("crl_sign")), LEAF),
    "authority of servers": lambda keys: made(keys, (basic(), SERVER), LEAF),
    "authority with an unknown critical extension": lambda keys: made(
        keys, (basic(), UNKNOWN), LEAF
    ),
    "authority of other names": lambda keys: made(keys, (basic(), OTHERS), LEAF),
    "no authority": lambda keys: made(keys, LEAF, LEAF),
    "intermediate": lambda keys: made(keys, (basic(),), (basic(),), LEAF),
    "intermediate that is no authority": lambda keys: made(keys, (basic(),), LEAF, LEAF),
    "path length of none": lambda keys: made(keys, (basic(path_length=0),), LEAF),
    "path length exceeded": lambda keys: made(keys, (basic(path_length=0),), (basic(),), LEAF),
    "path length just kept": lambda keys: made(
        keys, (basic(path_length=1),), (basic(path_length=0),), LEAF
    ),
}


def openssl_trusts(chain: Chain, folder: Path) -> bool:
    between = folder / "between.pem"
    between.write_bytes(b"".join(each.file(folder).read_bytes() for each in chain[1:-1]))
    untrusted = ("-untrusted", between) if len(chain) > 2 else ()
    said = tool("openssl", "verify", "-partial_chain", "-no_check_time", "-purpose", "any",
                "-no-CApath", "-no-CAfile", "-trusted", chain[-1].file(folder), *untrusted,
                chain[0].file(folder), status=None)  # fmt: skip
    return said.endswith(": OK\n")


def trusts(chain: Chain) -> bool:
    found = [each.certificate for each in chain]
    return is_trusted(found[0], [found[-1]], others=found[1:-1])


@pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS)
def test_chains_are_trusted_that_openssl_trusts(
    make: Callable[[Sequence[RSAPrivateKey]], Chain],
    keys: Sequence[RSAPrivateKey],
    tmp_path: Path,
) -> None:
    chain = make(keys)
    assert trusts(chain) is openssl_trusts(chain, tmp_path)


def test_what_some_firmware_lacks_is_not_trusted(
    keys: Sequence[RSAPrivateKey], tmp_path: Path
) -> None:
    """OpenSSL knows elliptic curves, SHA-1 and PSS; EDK II is built without some of them."""
    curve = owner("curve", ec.generate_private_key(ec.SECP256R1()), basic())
    ca = owner("ca", keys[0], basic())
    for chain in (
        [owner("leaf", keys[1], by=curve), curve],
        [owner("leaf", keys[1], by=ca, rsa_padding=PSS), ca],
        [curve],
    ):
        assert not trusts(chain)
    assert trusts([owner("leaf", keys[1], by=ca), ca])
    authority = self_signed(tmp_path, "authority")
    for digest, trusted in (("sha1", False), ("sha512", True)):
        leaf = issued(tmp_path, authority, digest, digest=digest).signer.certificate
        assert is_trusted(leaf, [authority.signer.certificate]) is trusted


def test_authorities_that_issued_each_other_have_an_end(keys: Sequence[RSAPrivateKey]) -> None:
    """16 certificates of one name and key, of which each issued all of them."""
    ring = [owner("ring", keys[0], basic()) for _ in range(16)]
    leaf = owner("leaf", keys[1], by=ring[0])
    stranger = owner("stranger", keys[2], basic())
    certificates = [each.certificate for each in ring]
    assert not is_trusted(leaf.certificate, [stranger.certificate], others=certificates)
    assert is_trusted(leaf.certificate, certificates[:1], others=certificates)


# --- signatures -------------------------------------------------------------------------------


def signed_with(signature: bytes) -> bytes:
    """Return a stub with the signature in its certificate table."""
    body = pe_stub(symbols=b"")
    size = 8 + len(signature)
    table = size.to_bytes(4, "little") + b"\0\2\2\0" + signature
    table = table.ljust(-(-size // 8) * 8, b"\0")
    entry = len(body).to_bytes(4, "little") + len(table).to_bytes(4, "little")
    return patched(body, SECURITY_DIRECTORY, entry) + table


def signature_of(each: Owner) -> bytes:
    assert isinstance(each.key, RSAPrivateKey)
    digest = split_image(Content.of_bytes(pe_stub(symbols=b""))).digest()
    signer = FileSigner(each.key, each.certificate)
    return sign_attached(SPC_INDIRECT_DATA, indirect_data(digest), signer)


def problems(path: Path, trusted: x509.Certificate) -> tuple[str, ...]:
    return read_signatures(Content.of_file(path), trusted=(trusted,)).problems


def test_intermediates_come_with_a_signature(keys: Sequence[RSAPrivateKey], tmp_path: Path) -> None:
    leaf, between, root = made(keys, (basic(),), (basic(),), LEAF)
    alone, with_both = tmp_path / "alone.efi", tmp_path / "both.efi"
    alone.write_bytes(signed_with(signature_of(leaf)))
    with_both.write_bytes(signed_with(with_certificates(signature_of(leaf), [between])))
    for path, anchor, accepted in (
        (with_both, root, True),
        (with_both, between, True),
        (alone, between, True),
        (alone, root, False),
    ):
        assert (problems(path, anchor.certificate) == ()) is accepted
    tool("sbverify", "--cert", root.file(tmp_path), with_both)


@pytest.mark.parametrize(
    ("hash_name", "accepted"),
    [("sha1", False), ("sha256", True), ("sha384", True), ("sha512", True)],
)
def test_hashes_of_other_signers(hash_name: str, accepted: bool, tmp_path: Path) -> None:
    """OVMF 2022.11 starts what is signed with SHA-384 and SHA-512; sbverify knows SHA-256 only."""
    keys = self_signed(tmp_path)
    theirs = tmp_path / "theirs.efi"
    tool("osslsigncode", "sign", "-h", hash_name, "-certs", keys.certificate, "-key", keys.key,
         "-in", real_assets() / "amd64/systemd-boot.efi", "-out", theirs)  # fmt: skip
    found = problems(theirs, keys.signer.certificate)
    assert (found == ()) is accepted
    assert accepted or "uses sha1, and UEFI firmware accepts sha256, sha384, sha512" in found[0]
    judged = tool("sbverify", "--cert", keys.certificate, theirs, status=None)
    assert ("verification OK" in judged) is (hash_name == "sha256")


def test_a_key_for_pss_is_not_trusted(tmp_path: Path) -> None:
    """Its PKCS #1 v1.5 signature is right by the numbers; OpenSSL goes by the certificate."""
    keys = pss_keys(tmp_path)
    signer = pss_signer(keys)
    ours = write_content(sign_pe(Content.of_bytes(pe_stub()), signer), tmp_path / "ours.efi")
    tool("sbverify", "--cert", keys.certificate, ours, status=1)
    (problem,) = problems(ours, signer.certificate)
    assert "for an RSA-PSS key, and signatures for UEFI use PKCS #1 v1.5" in problem
