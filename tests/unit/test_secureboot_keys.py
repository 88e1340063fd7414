"""New keys, the firmware's variables, and what `imager secureboot` says of them."""

from __future__ import annotations

import base64
import datetime
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.efi.authenticode import sign_pe
from imager.efi.certificates import fingerprint, load_certificates
from imager.efi.databases import accepts
from imager.efi.efivars import (
    SHA256,
    X509,
    Variable,
    auth_variable,
    certificate_lists,
    parse_auth,
    parse_lists,
)
from imager.efi.enrollment import (
    SignedVariable,
    enrollment,
    enrollment_problems,
    load_well_known,
)
from imager.efi.keygen import generate_keys
from imager.efi.signer import FileSigner, load_key, load_signer
from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.formats.gpt.entries import ESP, LINUX_DATA, Partition
from imager.formats.gpt.table import plan_gpt
from imager.support.errors import HostError, InputError
from imager.support.repro import derived_uuid
from tests.lib.keys.digest_lists import digest_list
from tests.lib.keys.pe_stub import patched, pe_stub
from tests.lib.keys.signing_keys import NOW, self_signed
from tests.lib.tools.cli import IMAGER, MIB, UNMEASURED, environment, run, tool
from tests.lib.tools.examples import examples
from tests.lib.tools.support import content_bytes, write_content

OWNER = UUID("11111111-2222-3333-4444-555566667777")
PASSPHRASE = "correct horse battery"
FILES = {
    "ca-key.pem", "ca-cert.pem", "uki-signing-key.pem", "uki-signing-cert.pem",
    "uki-signing-cert.der", "pcr-signing-key.pem", "pcr-signing-public-key.pem",
    "PK.auth", "PK.esl", "KEK.auth", "KEK.esl", "db.auth", "db.esl",
}  # fmt: skip
Variables = dict[Variable, SignedVariable]
PK, KEK, DB = Variable.PK, Variable.KEK, Variable.DB
SECRET = {"ca-key.pem", "uki-signing-key.pem", "pcr-signing-key.pem"}


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    return self_signed(tmp_path_factory.mktemp("keys")).signer


@pytest.fixture(scope="module")
def made(signer: FileSigner) -> Variables:
    return enrollment(signer, owner=OWNER)


@pytest.fixture(scope="module")
def new_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of keys that the command made, encrypted, with a wide umask."""
    folder = tmp_path_factory.mktemp("made") / "keys"
    done = run(
        *("secureboot", "gen-keys", folder, "--common-name", "Edge"),
        env={"IMAGER_KEY_PASSPHRASE": PASSPHRASE},
        umask=0,
    )
    assert done.returncode == 0, done.stderr
    (folder / "log").write_text(done.stdout + done.stderr)
    return folder


# --- variables --------------------------------------------------------------------------------


def test_lists_are_read_back(signer: FileSigner, made: Variables, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other", bits=3072).signer
    lists = certificate_lists([signer.certificate, other.certificate], owner=OWNER)
    digests = digest_list([bytes(32), bytes(range(32))], owner=OWNER)
    entries = parse_lists(lists + digests)
    assert [entry.kind for entry in entries] == [X509, X509, SHA256, SHA256]
    assert {entry.owner for entry in entries} == {OWNER}
    assert entries[-1].data == bytes(range(32))
    assert parse_lists(made[PK].esl)[0].data == entries[0].data


@pytest.mark.parametrize("data", [b"x", bytes(28), X509.bytes_le + b"\xff" * 12])
def test_damaged_lists_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="signature list"):
        parse_lists(data)


def test_all_of_a_signed_variable_is_protected(made: Variables) -> None:
    """Its time, header, signature and value; the signer's certificate is for PK to vouch for."""
    data = made[DB].auth
    parse_auth(Variable.DB, data, name="db.auth")
    der = made[DB].esl[44:]
    start = data.index(der)
    for place in (*range(start), *range(start + len(der), len(data))):
        with pytest.raises(InputError):
            parse_auth(Variable.DB, patched(data, place, bytes([data[place] ^ 1])), name="db.auth")


def test_a_file_under_another_name(made: Variables) -> None:
    with pytest.raises(InputError, match=r"KEK.auth: for the variable KEK, the signature does not"):
        parse_auth(Variable.KEK, made[PK].auth, name="KEK.auth")
    with pytest.raises(InputError, match=r"KEK.auth: for"):
        parse_auth(Variable.KEK, made[DB].auth, name="KEK.auth")


@pytest.mark.parametrize("data", [b"", bytes(39), bytes(2 << 20)])
def test_what_is_no_signed_variable(data: bytes) -> None:
    with pytest.raises(InputError, match=r"PK.auth"):
        parse_auth(Variable.PK, data, name="PK.auth")


@given(st.binary(max_size=300), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
@settings(max_examples=examples(150))
def test_hostile_files_are_errors(made: Variables, blob: bytes, place: int, change: bytes) -> None:
    for data in (blob, made[PK].auth[:16] + blob, patched(made[PK].auth, place, change)):
        try:
            parse_auth(Variable.PK, data, name="PK.auth")
        except InputError:
            continue
        assert data[:16] == made[PK].auth[:16]
        assert data.endswith(made[PK].esl)


def test_a_time_is_told_in_utc(signer: FileSigner) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=-5))
    instant = datetime.datetime(2025, 12, 31, 22, 30, 15, tzinfo=zone)
    data = auth_variable("PK", Variable.PK.guid, b"", signer, instant)
    assert data[:16].hex() == "ea070101031e0f" + "00" * 9
    assert parse_auth(Variable.PK, data, name="PK").timestamp == instant


def test_the_time_is_the_builds(signer: FileSigner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")
    data = enrollment(signer)[PK].auth
    found = parse_auth(Variable.PK, data, name="PK")
    assert found.timestamp == datetime.datetime.fromtimestamp(1_750_000_000, datetime.UTC)


def test_unsigned_files_are_told(signer: FileSigner, made: Variables) -> None:
    """Such as virt-fw-vars writes; firmware in setup mode takes all of them but PK."""
    pk, kek, db = (
        parse_auth(variable, value.auth, name=variable.value) for variable, value in made.items()
    )
    assert enrollment_problems(pk, kek, db) == ()
    bare = made[DB].auth[:16] + b"\x18\0\0\0" + made[DB].auth[20:40] + made[DB].esl
    unsigned = parse_auth(Variable.DB, bare, name="db")
    assert unsigned.signer is None
    assert enrollment_problems(pk, kek, unsigned) == ("db is not signed by a key in KEK or PK",)
    empty = parse_auth(
        Variable.KEK,
        auth_variable("KEK", Variable.KEK.guid, b"", signer, NOW.replace(microsecond=0)),
        name="KEK",
    )
    assert enrollment_problems(pk, empty, db) == ("KEK contains no certificate",)
    assert accepts(db, signer.certificate)


def test_well_known_certificates_go_where_they_belong(signer: FileSigner, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    with pytest.raises(InputError, match="no certificates in db/ or KEK/"):
        load_well_known(tmp_path)
    theirs = self_signed(tmp_path, "theirs")
    tool("openssl", "x509", "-in", theirs.certificate, "-outform", "DER",
         "-out", tmp_path / "db" / "microsoft uefi ca 2023.der")  # fmt: skip
    (tmp_path / "db" / "README").write_text("not a certificate")
    (tmp_path / "KEK").mkdir()
    (tmp_path / "KEK" / "kek.CRT").write_bytes(theirs.certificate.read_bytes())
    known = load_well_known(tmp_path)
    assert known[DB] == known[KEK] == load_certificates(theirs.certificate)
    both = enrollment(signer, extra=known)
    owner = derived_uuid(f"secureboot owner {fingerprint(signer.certificate)}")
    assert [len(parse_lists(each.esl)) for each in both.values()] == [1, 2, 2]
    assert {entry.owner for entry in parse_lists(both[DB].esl)} == {owner}


# --- new keys ---------------------------------------------------------------------------------


def test_new_keys_are_all_there_and_the_owners_alone(new_keys: Path) -> None:
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in new_keys.iterdir()}
    del found["log"]
    assert set(found) == FILES
    assert found == {name: 0o600 if name in SECRET else 0o644 for name in FILES}
    assert stat.S_IMODE(new_keys.stat().st_mode) == 0o700


def test_new_keys_are_said_what_they_are_for(new_keys: Path) -> None:
    said = (new_keys / "log").read_text()
    secret = {line.split()[0] for line in said.splitlines() if line.endswith("SECRET")}
    assert secret == SECRET
    assert all(name in said for name in FILES)


def test_new_keys_fit_together(new_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGER_KEY_PASSPHRASE", PASSPHRASE)
    certificate = new_keys / "uki-signing-cert.pem"
    loaded, warnings = load_signer(new_keys / "uki-signing-key.pem", certificate, now=NOW)
    assert warnings == ()
    assert loaded.public_key.key_size == 4096
    assert load_key(new_keys / "pcr-signing-key.pem")[0].public_key.key_size == 2048
    assert load_certificates(new_keys / "uki-signing-cert.der") == load_certificates(certificate)
    read = {
        variable: parse_auth(variable, (new_keys / f"{variable.value}.auth").read_bytes(), name="")
        for variable in (Variable.PK, Variable.KEK, Variable.DB)
    }
    assert enrollment_problems(*read.values()) == ()
    assert accepts(read[Variable.DB], loaded.certificate)
    tool("openssl", "verify", "-CAfile", new_keys / "ca-cert.pem", certificate)
    text = tool("openssl", "x509", "-in", certificate, "-noout", "-subject", "-dates")
    assert "CN = Edge\n" in text
    years = {int(line.split()[-2]) for line in text.splitlines() if line.startswith("not")}
    assert max(years) - min(years) == 10


def test_private_keys_have_the_form_that_talos_reads(tmp_path: Path) -> None:
    """PKCS #1, which Talos parses without a look at the label of the PEM block."""
    folder = tmp_path / "keys"
    done = run("secureboot", "gen-keys", folder, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["folder"], said["encrypted"]) == (str(folder), False)
    assert {each["name"] for each in said["files"]} == FILES
    assert {each["name"] for each in said["files"] if each["secret"]} == SECRET
    for name in SECRET:
        pem = (folder / name).read_text()
        assert pem.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
        assert pem.count("-----BEGIN ") == 1
        # RSAPrivateKey (RFC 8017, A.1.2): a sequence of a version, 0, and eight more integers.
        der = base64.b64decode("".join(pem.splitlines()[1:-1]))
        listed = tool("openssl", "asn1parse", "-inform", "DER", stdin=der).splitlines()
        assert "SEQUENCE" in listed[0]
        assert [line.split(":")[2].strip() for line in listed[1:]] == ["INTEGER"] * 9
        assert "RSA key ok" in tool("openssl", "rsa", "-in", folder / name, "-check", "-noout")


def test_encrypted_keys_can_be_made_such_that_talos_reads_them(
    new_keys: Path, tmp_path: Path
) -> None:
    """By the command that is printed with them."""
    said = (new_keys / "log").read_text()
    assert "Talos's imager\ncannot read encrypted keys" in said
    command = re.search(r"openssl rsa -traditional -in KEY -out NEW", said)
    assert command
    for name in SECRET:
        assert (new_keys / name).read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
        words = command[0].replace("KEY", str(new_keys / name)).replace("NEW", str(tmp_path / name))
        tool(*words.split(), "-passin", f"pass:{PASSPHRASE}")
        assert (tmp_path / name).read_text().startswith("-----BEGIN RSA PRIVATE KEY-----\n")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "db.auth").write_text("mine")
    for place in (folder, folder / "db.auth"):
        done = run("secureboot", "gen-keys", place)
        assert done.returncode == 2
        assert "exists already, and nothing in it is overwritten" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["keys", "db.auth"]
    assert (folder / "db.auth").read_text() == "mine"


def test_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes meanwhile is kept, and a failure leaves nothing."""
    folder = tmp_path / "keys"
    rename = Path.rename

    def meanwhile(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / "mine").touch()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", meanwhile)
    with pytest.raises(InputError, match="exists already"):
        generate_keys(folder, common_name="x", passphrase=None, now=NOW)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.rglob("*")] == ["keys", "mine"]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 62])
def test_names_that_no_certificate_has(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="common name"):
        generate_keys(tmp_path / "keys", common_name=name, passphrase=None, now=NOW)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises((InputError, HostError), match="does not exist"):
        generate_keys(tmp_path / "no" / "keys", common_name="x", passphrase=None, now=NOW)


# --- imager secureboot verify -----------------------------------------------------------------

LOADER, UKI = "EFI/BOOT/BOOTX64.EFI", "EFI/Linux/Talos.efi"


def disk(path: Path, files: dict[str, bytes], *, sector: int = 512) -> Path:
    """Make a disk of `sector`-byte sectors with `files` in its ESP, and a second partition."""
    fat = [File(name, Content.of_bytes(data)) for name, data in files.items()]
    size = minimum_fat_size(Tree.of(fat), sector_size=sector)
    volume = plan_fat(
        Tree.of(fat),
        size=size,
        label="EFI",
        volume_id=1,
        timestamp=1_704_067_200,
        sector_size=sector,
    )
    parts = [
        Partition("EFI", ESP, OWNER, MIB, size),
        Partition("DATA", LINUX_DATA, UUID(int=1), MIB + size, MIB),
    ]
    disk_size = 3 * MIB + size
    gpt = plan_gpt(parts, disk_size=disk_size, disk_guid=UUID(int=2), sector_size=sector)
    placed = [(0, gpt.primary), (MIB, volume.content), (gpt.backup_offset, gpt.backup)]
    return write_content(Content.compose(disk_size, placed), path)


def signed(signer: FileSigner, symbols: bytes = b"") -> bytes:
    return content_bytes(sign_pe(Content.of_bytes(pe_stub(symbols=symbols)), signer))


@pytest.fixture
def certificate(signer: FileSigner, tmp_path: Path) -> Path:
    from imager.efi.certificates import der

    path = tmp_path / "certificate.der"
    path.write_bytes(der(signer.certificate))
    return path


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_disk_whose_binaries_are_signed(
    sector: int, signer: FileSigner, made: Variables, certificate: Path, tmp_path: Path
) -> None:
    files = {
        LOADER: signed(signer, b"loader"),
        UKI: signed(signer, b"uki"),
        "loader/loader.conf": b"timeout 1\n",
        "loader/keys/auto/PK.auth": made[PK].auth,
        "loader/keys/auto/KEK.auth": made[KEK].auth,
        "loader/keys/auto/db.auth": made[DB].auth,
    }
    image = disk(tmp_path / "disk", files, sector=sector)
    done = run("secureboot", "verify", image, "--cert", certificate, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert [each["path"] for each in report["binaries"]] == [LOADER, UKI]
    (signature,) = report["binaries"][0]["signatures"]
    assert signature["trusted"] is True
    assert signature["certificate"]["subject"] == "CN=signing"
    assert signature["digest"] == report["binaries"][0]["digest"]
    (keys,) = report["keys"]
    assert keys["ok"] is True
    assert sorted(keys["variables"]) == ["KEK", "PK", "db"]


def test_everything_wrong_with_a_disk_is_told(
    signer: FileSigner, made: Variables, certificate: Path, tmp_path: Path
) -> None:
    other = self_signed(tmp_path, "other").signer
    files = {
        LOADER: signed(signer),
        "EFI/a.efi": pe_stub(),
        "EFI/b.efi": signed(other),
        "EFI/c.efi": patched(signed(signer), 0x420, b"x"),
        "vmlinuz": b"MZ and no more",
        "loader/keys/auto/PK.auth": made[KEK].auth,
        "loader/keys/mine/PK.auth": made[PK].auth,
        "loader/keys/mine/KEK.auth": made[KEK].auth,
        "loader/keys/mine/db.auth": made[DB].auth,
    }
    image = disk(tmp_path / "disk", files)
    done = run("secureboot", "verify", image, "--cert", certificate)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for problem in (
        "EFI/a.efi: not signed",
        "EFI/b.efi: no signature chains to one of the given certificates",
        "EFI/c.efi: the signature is for another image, or this one is damaged",
        "vmlinuz: not a valid PE32+",
        "loader/keys/auto: PK.auth: for the variable PK, the signature does not verify",
        "loader/keys/auto: db.auth is missing",
        "loader/keys/mine: a machine that enrols these keys rejects EFI/b.efi",
    ):
        assert problem in done.stderr
    assert LOADER not in done.stderr
    assert f"{LOADER}: signed" in done.stdout


def test_other_images(certificate: Path, tmp_path: Path) -> None:
    for name, data, words in (
        ("empty", b"", "neither an EFI binary nor an EFI system partition"),
        ("compressed", b"\x28\xb5\x2f\xfd" * 999, "decompress it first"),
        ("gpt", bytes(512) + b"EFI PART" + bytes(99999), "no valid GPT"),
    ):
        (tmp_path / name).write_bytes(data)
        done = run("secureboot", "verify", tmp_path / name)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert words in done.stderr
    for path in (tmp_path, tmp_path / "none"):
        done = run("secureboot", "verify", path)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert "cannot be read" in done.stderr
    done = run("secureboot", "verify", disk(tmp_path / "disk", {"a": b"b"}))
    assert "found no EFI binary" in done.stderr


def test_names_in_an_image_do_not_drive_the_terminal(tmp_path: Path, signer: FileSigner) -> None:
    tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-utf8", "-days", "9",
         "-subj", "/CN=\x1b[31mred", "-keyout", tmp_path / "k", "-out", tmp_path / "c")  # fmt: skip
    red = load_signer(tmp_path / "k", tmp_path / "c", now=NOW)[0]
    (tmp_path / "a.efi").write_bytes(signed(red))
    for more in ((), ("--json",)):
        done = run("secureboot", "verify", tmp_path / "a.efi", *more)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout + done.stderr
        assert "red" in done.stdout


# --- secrets, and what is loaded when ---------------------------------------------------------


def test_secrets_are_nowhere(new_keys: Path, tmp_path: Path) -> None:
    """Not in what is said, in reports, in what was signed, nor in what a failure says."""
    env = {"IMAGER_KEY_PASSPHRASE": PASSPHRASE}
    plain = tool("openssl", "pkey", "-in", new_keys / "uki-signing-key.pem",
                 "-passin", f"pass:{PASSPHRASE}")  # fmt: skip
    secrets = [line for line in plain.splitlines() if not line.startswith("-")]
    for name in SECRET:
        lines = (new_keys / name).read_text().splitlines()
        secrets += [line for line in lines if not line.startswith("-")]
    assert len(secrets) > 100
    said = (new_keys / "log").read_text()
    code = (
        "import datetime, sys; from pathlib import Path\n"
        "from imager.content.extents import Content\n"
        "from imager.content.reading import iterate_bytes\n"
        "from imager.efi.authenticode import sign_pe\n"
        "from imager.efi.signer import load_signer\n"
        "key, certificate, source, target = map(Path, sys.argv[1:])\n"
        "now = datetime.datetime.now(datetime.UTC)\n"
        "signer, warnings = load_signer(key, certificate, now=now)\n"
        "print(signer, warnings)\n"
        "content = sign_pe(Content.of_file(source), signer)\n"
        "target.write_bytes(b''.join(iterate_bytes(content)))\n"
    )
    (tmp_path / "in.efi").write_bytes(pe_stub())
    names = ("uki-signing-key.pem", "uki-signing-cert.pem")
    arguments = [*(new_keys / name for name in names), tmp_path / "in.efi", tmp_path / "out.efi"]
    for secret in (PASSPHRASE, "wrong"):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment({"IMAGER_KEY_PASSPHRASE": secret}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is (secret == PASSPHRASE)
        said += done.stdout + done.stderr
    for more in ((), ("--json",)):
        for path in (tmp_path / "out.efi", new_keys / "uki-signing-key.pem"):
            done = run("secureboot", "verify", path, *more, env=env)
            said += done.stdout + done.stderr
    public = b"".join((new_keys / name).read_bytes() for name in FILES - SECRET)
    everything = said.encode() + public + (tmp_path / "out.efi").read_bytes()
    assert PASSPHRASE.encode() not in everything
    assert not [secret for secret in secrets if secret.encode() in everything and len(secret) > 8]


def test_help_loads_no_cryptography() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *IMAGER[1:], "secureboot", "gen-keys", "--help"],
        env=environment(UNMEASURED),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "imager.cli.secureboot" in loaded
    assert not {"cryptography", "asn1crypto", "pefile"} & {n.split(".")[0] for n in loaded}
