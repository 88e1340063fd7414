"""PCR policies judged by a TPM (swtpm), which gives out a secret to tpm2-tools or does not."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pefile
import pytest

from imager.bootassets.find import find_assets
from imager.bootassets.kernelimage import unified_kernel_image
from imager.content.extents import Content
from imager.efi.measured import check_pcr_policy
from imager.efi.pcr import sign_policies
from imager.efi.uki_sections import UkiProfile
from imager.support.arch import AMD64
from tests.lib.keys.pcr_keys import PcrKey
from tests.lib.machines.tpm import tpm_of_the_host
from tests.lib.tools.cli import environment, real_assets
from tests.lib.tools.support import write_content
from tests.lib.tools.trixie import make_trixie_assets

pytestmark = pytest.mark.oracle


ORDER = (".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat", ".pcrpkey", ".profile")
SECRET = b"what the disk is encrypted with"
AUTHORIZE = ("-S", "session", "-i", "policy", "-n", "name", "-t", "ticket")


@pytest.fixture
def key(tmp_path: Path) -> PcrKey:
    return PcrKey.make(tmp_path)


@dataclass(frozen=True, slots=True)
class Tpm:
    """tpm2-tools on one TPM; `folder` has the files that they pass on."""

    name: str
    folder: Path

    def run(self, tool_name: str, *options: str | Path, stdin: bytes = b"") -> bytes:
        """Run a tool, which must succeed, and let go of what it loaded."""
        done = self._start(tool_name, *options, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        self._start("flushcontext", "-t")
        return done.stdout

    def fails(self, tool_name: str, *options: str | Path) -> str:
        done = self._start(tool_name, *options)
        assert done.returncode != 0
        return done.stderr.decode()

    def _start(
        self, tool_name: str, *options: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [f"tpm2_{tool_name}", *options],
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env={**environment(), "TPM2TOOLS_TCTI": self.name},
            check=False,
        )

    def extend(self, word: bytes) -> None:
        self.run("pcrextend", f"11:sha256={sha256(word).hexdigest()}")

    def read(self) -> str:
        found = re.search(r"11: 0x([0-9A-F]{64})", self.run("pcrread", "sha256:11").decode())
        assert found
        return found[1].lower()

    def seal(self, public_key: Path) -> None:
        """Seal the secret to whatever policies the key signs: TPM2_PolicyAuthorize."""
        self.run(
            "loadexternal", "-C", "o", "-G", "rsa", "-u", public_key, "-c", "key", "-n", "name"
        )
        self.run("startauthsession", "-S", "trial")
        self.run("policyauthorize", "-S", "trial", "-L", "authorized", "-n", "name")
        self.run("flushcontext", "trial")
        self.run("createprimary", "-C", "o", "-c", "primary")
        self.run("create", "-C", "primary", "-L", "authorized", "-i", "-", "-u", "public",
                 "-r", "private", stdin=SECRET)  # fmt: skip
        self.run("load", "-C", "primary", "-u", "public", "-r", "private", "-c", "sealed")

    def open_policy(self, entry: Mapping[str, str]) -> None:
        """Begin a session with the policy that PCR 11 is what it is, and check its signature."""
        (self.folder / "policy").write_bytes(bytes.fromhex(entry["pol"]))
        (self.folder / "signature").write_bytes(base64.b64decode(entry["sig"]))
        self.run("verifysignature", "-c", "key", "-g", "sha256", "-m", "policy", "-s", "signature",
                 "-f", "rsassa", "-t", "ticket")  # fmt: skip
        self.run("startauthsession", "--policy-session", "-S", "session")
        self.run("policypcr", "-S", "session", "-l", "sha256:11")


def test_a_tpm_gives_out_its_secret_in_the_signed_phase_alone(key: PcrKey, tmp_path: Path) -> None:
    """As Talos's machined does it: the disk's key is sealed to the key that signs policies."""
    trixie = find_assets(
        AMD64, given=make_trixie_assets(tmp_path / "trixie", default=real_assets())
    )
    profiles = (UkiProfile("reset", "Reset", "quiet wipe"),)
    plan = unified_kernel_image(
        trixie, release="ID=talos\n", cmdline="quiet", profiles=profiles, pcr_signer=key
    )
    uki = pefile.PE(str(write_content(plan, tmp_path / "uki.efi")), fast_load=True)
    sections = [
        (each.Name.rstrip(b"\0").decode(), each.get_data()[: each.Misc_VirtualSize])
        for each in uki.sections
    ]
    main = dict(sections[:-3])
    (entry,) = json.loads(main[".pcrsig"])["sha256"]
    with tpm_of_the_host() as name:
        tpm = Tpm(name, tmp_path)
        tpm.seal(key.public)
        for section in ORDER:
            tpm.extend(section.encode() + b"\0")
            tpm.extend(main[section])
        value = bytes.fromhex(tpm.read())
        assert value == check_pcr_policy(Content.of_file(tmp_path / "uki.efi"))[0].value
        for phase in ("enter-initrd", "leave-initrd"):
            tpm.extend(phase.encode())
            tpm.open_policy(entry)
            assert "policy" in tpm.fails("policyauthorize", *AUTHORIZE)
            tpm.run("flushcontext", "session")
        tpm.extend(b"enter-machined")
        tpm.open_policy(entry)
        tpm.run("policyauthorize", *AUTHORIZE)
        assert tpm.run("unseal", "-c", "sealed", "-p", "session:session") == SECRET
        tpm.extend(b"start-the-world")
        assert tpm.fails("unseal", "-c", "sealed", "-p", "session:session")
        (other,) = json.loads(dict(sections[-3:])[".pcrsig"])["sha256"]
        tpm.run("flushcontext", "session")
        tpm.open_policy(other)
        assert "policy" in tpm.fails("policyauthorize", *AUTHORIZE)


def test_a_tpm_knows_a_forged_signature(key: PcrKey, tmp_path: Path) -> None:
    stranger = PcrKey.make(tmp_path, name="stranger")
    (entry,) = json.loads(sign_policies(bytes(32), stranger, phase_paths=("",)))["sha256"]
    with tpm_of_the_host() as name:
        tpm = Tpm(name, tmp_path)
        tpm.seal(key.public)
        (tmp_path / "policy").write_bytes(bytes.fromhex(entry["pol"]))
        (tmp_path / "signature").write_bytes(base64.b64decode(entry["sig"]))
        said = tpm.fails("verifysignature", "-c", "key", "-g", "sha256", "-m", "policy",
                         "-s", "signature", "-f", "rsassa", "-t", "ticket")  # fmt: skip
    assert "signature is not valid" in said
