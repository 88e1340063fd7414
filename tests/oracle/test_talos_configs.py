"""Machine configurations, sizes and selectors judged by Talos's own modules."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from imager.registry.certificates import CertificateFiles, make_certificates
from imager.registry.mirrors import mirror_documents, mirrors_patch
from imager.support.errors import InputError
from imager.support.units import GIB, MIB
from imager.talos.config.cel import ExpressionError, evaluate
from imager.talos.config.disk import FIELDS_SINCE, Disk
from imager.talos.config.document import read_machine_config
from imager.talos.config.kinds import KINDS
from imager.talos.config.patch import patch_text
from imager.talos.config.selector import Selector
from imager.talos.config.sizes import parse_size_limit, parse_volume_size
from imager.talos.version import TalosVersion
from tests.lib.keys.sigstore_instance import key_named, public_pem
from tests.lib.tools.talos_modules import RELEASE, TalosModules

pytestmark = pytest.mark.oracle

VERSION = TalosVersion.parse(RELEASE)
DISK = Disk(
    dev_path="/dev/sda",
    size=20 * GIB,
    sector_size=4096,
    model="Samsung SSD 980",
    transport="nvme",
    symlinks=("/dev/disk/by-id/a", "/dev/disk/by-id/ab"),
    rotational=True,
)
KEY = json.dumps(public_pem(key_named("signer")))
KEYLESS = "keyless: {issuer: https://issuer.example"
ENABLED = "machine: {features: {imageCache: {localEnabled: true}}}\n"


@pytest.fixture(scope="module")
def generated(talos: TalosModules) -> str:
    """A control plane's configuration as talosctl makes it."""
    made = talos.ask("generate", version=RELEASE)
    assert made.is_right, made.error
    return str(made.result)


def volume(rest: str, name: str = "IMAGECACHE") -> str:
    return f"apiVersion: v1alpha1\nkind: VolumeConfig\nname: {name}\n{rest}\n"


def selecting(expression: str) -> str:
    return volume(f"provisioning: {{diskSelector: {{match: {json.dumps(expression)}}}}}")


def verifying(*rules: str) -> str:
    return f"apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules: [{', '.join(rules)}]\n"


def is_right(text: str) -> bool:
    """Whether ours takes a configuration for the release of the modules."""
    try:
        read_machine_config(text, source="m.yaml", version=VERSION)
    except InputError:
        return False
    return True


# --- configurations ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [300 * MIB, 499 * MIB, GIB, 5 * GIB + 1, None])
def test_our_patch_is_applied_and_right(
    talos: TalosModules, generated: str, size: int | None
) -> None:
    patched = talos.ask("patch", text=generated, patch=patch_text(VERSION, size))
    assert patched.is_right, patched.error
    assert "localEnabled: true" in patched.result
    assert ("kind: VolumeConfig" in patched.result) == (size is not None)
    assert talos.ask("validate", text=patched.result) == talos.ask("validate", text=generated)
    assert is_right(patched.result)


def test_a_damaged_patch_is_noticed(talos: TalosModules, generated: str) -> None:
    for old, new in (("system_disk", "system_dsk"), ("localEnabled", "localEnable")):
        patch = patch_text(VERSION, GIB).replace(old, new)
        patched = talos.ask("patch", text=generated, patch=patch)
        assert not (patched.is_right and talos.ask("validate", text=patched.result).is_right)


def test_patches_for_clients(talos: TalosModules, generated: str, tmp_path: Path) -> None:
    files = CertificateFiles(*(tmp_path / name for name in ("a", "b", "c", "d", "e")))
    now = datetime.datetime.now(datetime.UTC)
    make_certificates(files, addresses=["10.0.0.1"], names=[], now=now)
    names = ["docker.io", "registry.local:5000"]
    mirrors = mirror_documents(names, urls=["http://10.0.0.1:3172", "http://[fd00::1]:3172"])
    for text in (mirrors, files.patch.read_text(), mirrors_patch(names, url="http://a:1", ca=None)):
        patched = talos.ask("patch", text=generated, patch=text)
        assert patched.is_right, patched.error
        assert talos.ask("validate", text=patched.result).is_right
        broken = text.replace("url:", "uri:").replace("name: image", "nam: image")
        broken = broken.replace("endpoints:", "endpoint:")
        assert not talos.ask("patch", text=generated, patch=broken).is_right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (volume(""), True),
        (volume("provisioning: {minSize: 1GiB, maxSize: 2GiB, grow: true}"), True),
        (volume("provisioning: {maxSize: 80%}"), True),
        (volume("provisioning: {maxSize: -20%}"), True),
        (volume("provisioning: {minSize: 1.8TiB, maxSize: '2,000 gib'}"), True),
        (volume("provisioning: {minSize: 4G, maxSize: 4G}"), True),
        (volume("provisioning: {minSize: 3GiB, maxSize: 2GiB}"), False),
        (volume("provisioning: {minSize: -1GiB}"), False),
        (volume("provisioning: {minSize: 10%}"), False),
        (volume("provisioning: {minSize: 0x10}"), False),
        (volume("provisioning: {maxSize: 101%}"), False),
        (volume("provisioning: {maxSize: 20XB}"), False),
        (volume("provisioning: {grow: often}"), False),
        (volume("provisioning: {size: 1GiB}"), False),
        (volume("provisioning: [1]"), False),
        (volume("provisioning: {}\nmount: {}"), True),
        (volume("mount: {secure: true}"), True),
        (volume("filesystem: {xfs: {}}"), False),
        (volume("volumeType: partition"), False),
        (volume("provisioning: {}", "STATE"), True),
        (volume("provisioning: {grow: true}", "STATE"), False),
        (volume("provisioning: {grow: true}", "EPHEMERAL"), True),
        (volume("", "IMAGE-CACHE"), False),
        (volume("", "ETCD"), False),
        (volume("") + "---\n" + volume(""), False),
        (selecting("disk.transport == 'nvme' && !system_disk"), True),
        (selecting("disk.size > 120"), False),
        (selecting("disk.size"), False),
        (verifying(""), True),
        (verifying("{image: a/*, skip: true}", "{image: '*', deny: true}"), True),
        (verifying("{image: a/*, skip: false, deny: true}"), True),
        (verifying(f"{{image: a/*, {KEYLESS}, subject: a}}}}"), True),
        (verifying(f"{{image: a/*, {KEYLESS}, subject: a, subjectRegex: b}}}}"), True),
        (verifying(f"{{image: a/*, deny: false, publicKey: {{certificate: {KEY}}}}}"), True),
        (verifying("{image: a/*}"), False),
        (verifying("{skip: true}"), False),
        (verifying("{image: '', skip: true}"), False),
        (verifying("{image: a/*, skip: true, deny: true}"), False),
        (verifying("{image: a/*, skip: false}"), False),
        (verifying("{image: a/*, skip: sometimes}"), False),
        (verifying("{image: a/*, refuse: true}"), False),
        (verifying(f"{{image: a/*, {KEYLESS}}}}}"), False),
        (verifying("{image: a/*, keyless: {subject: a}}"), False),
        (verifying("{image: a/*, keyless: {}}"), False),
        (verifying("{image: a/*, publicKey: {}}"), False),
        (verifying(f"{{image: a/*, {KEYLESS}, subject: a}}, skip: true}}"), False),
        (
            verifying(f"{{image: a, {KEYLESS}, subject: a}}, publicKey: {{certificate: {KEY}}}}}"),
            False,
        ),
        ("apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules: {}\n", False),
        ("apiVersion: v1alpha1\nkind: VolumeConfg\nname: IMAGECACHE\n", False),
        ("apiVersion: v1alpha1\nkind: ImageCacheConfig\nlocal: {enabled: true}\n", False),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", False),
        ("machine: {features: {imageCache: {localEnabled: maybe}}}\n", False),
        ("machine: {features: {imageCache: {enabled: true}}}\n", False),
        ("foo: 1\n", False),
        ("machine: [\n", False),
        ("", False),
    ],
)
def test_documents(talos: TalosModules, generated: str, text: str, expected: bool) -> None:
    whole = f"{generated}---\n{text}" if "kind:" in text else text
    # Nothing but a whole configuration has all that is required.
    question = "validate" if "kind:" in text else "patch"
    assert talos.ask(question, text=whole, patch=ENABLED).is_right == expected
    assert is_right(whole) == expected


def test_kinds(talos: TalosModules) -> None:
    for kind, since in KINDS.items():
        answer = talos.ask("kind", text=kind)
        known = "not registered" not in answer.error
        assert known == (since <= (1, 13)), (kind, answer)
    assert "not registered" in talos.ask("kind", text="VolumeConfg").error


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("0", "512", "4GiB", "4GB", "4 GB", "4 gib ", "4G", "4Gi", "2.5t", "1.8TiB", "0.1KiB"),
        *("1,024", "1,5GiB", ",1,", "1.", ".5kb", "1.1MB", "9007199254740993", "7EiB", "15.99EiB"),
        *("4.7GB", "123.456MiB", "16EiB", "18446744073709551615", "18446744073709549567", "1e3"),
        *(
            "",
            " 4GiB",
            "GiB",
            "+1",
            "-1",
            "--1",
            "-4GiB",
            "0x10",
            "1_000",
            "4XiB",
            "4 G B",
            "1.2.3",
        ),
        *(".", ",", "4GiB;", "4\N{NO-BREAK SPACE}GiB", "\N{ARABIC-INDIC DIGIT FOUR}GiB", "9" * 400),
    ],
)
def test_sizes(talos: TalosModules, text: str) -> None:
    answer = talos.ask("size", text=text)
    if not answer.is_right or answer.result["negative"]:
        with pytest.raises(InputError):
            parse_volume_size(text)
    elif text:  # which is none at all
        assert parse_volume_size(text) == answer.result["value"]


@pytest.mark.parametrize(
    "text",
    [
        *("80%", "100%", "0%", "99.9%", "-20%", "1e1%", "+5%", ".5%", "5.%", "50GiB", "-10GiB"),
        *("101%", "%", "a%", "--1GiB", "--5%", "-", "-%", "5%%", "5 %", "inf%", "1.2.3%"),
    ],
)
def test_limits(talos: TalosModules, text: str) -> None:
    answer = talos.ask("limit", text=text)
    if not answer.is_right:
        with pytest.raises(InputError):
            parse_size_limit(text)
        return
    found = parse_size_limit(text)
    value, percent, negative = (answer.result[key] for key in ("value", "percent", "negative"))
    if "%" in text:
        assert (found.percent, found.size) == (100 - percent if negative else percent, 0)
    else:
        assert (found.percent, found.size) == ((100, -value) if negative else (0, value))


# --- selectors --------------------------------------------------------------------------------

SELECTORS = [
    "system_disk",
    "disk.transport == 'nvme' && !system_disk",
    "disk.size > 120u * GB && disk.size < 1u * TB",
    "glob('/dev/sd*', disk.dev_path)",
    "has(disk.model) && !has(disk.serial)",
    "disk.symlinks.filter(s, s.endsWith('ab')).size() == 1",
    "disk.symlinks.map(s, s + 'x').exists(s, s == '/dev/disk/by-id/ax')",
    "disk.symlinks.map(s, s.endsWith('a'), size(s)) == [17]",
    "disk.symlinks.exists_one(s, s.endsWith('a'))",
    "string(disk.size) == '21474836480'",
    "disk.model.matches('^Samsung SSD [0-9]+$')",
    "disk.model.contains('SSD') ? disk.rotational : disk.cdrom",
    "disk.transport in ['nvme', 'sata']",
    "disk.transport in {'nvme': 1}",
    "{'nvme': 20u * GiB}[disk.transport] == disk.size",
    "[disk, disk][1].sector_size == 4096u",
    "disk == disk",
    "dyn(disk.size) > 1",
    "type(disk.size) == uint",
    "double(disk.size) > 0.4e10",
    "duration('90s') < duration('2m')",
    "timestamp('2024-01-02T03:04:05Z').getFullYear() == 2024",
    "b'ab' + b'c' == b'abc'",
    "1 in [1, 2] && null == null",
    "disk.size / 0u > 1u || true",
    "r'\\d' == '\\\\d' // a comment",
    "talos.resource.definitions.block.DiskSpec{size: 1u}.size == 1u",
    "uint('5') == 5u && int('-5') == -5 && bool('true')",
    "disk.secondary_disks.all(d, d == 'x')",
    "!!true && - -1 == 1",
    # Failed evaluations.
    "disk.size / 0u > 1u",
    "disk.size - 1u * EiB > 1u",
    "disk.symlinks[7] == 'a'",
    "int('x') == 1",
    "{'a': true}.b",
    # Wrong ones.
    *("", "disk", "disk.size", "dyn(true)", "1", "disk.size > 120", "disk.sise > 1u", "system_dsk"),
    *(
        "disk.model == 1",
        "1 == 1.0",
        "1 < 2u",
        "disk.model.upperAscii() == 'A'",
        "math.abs(1) == 1",
    ),
    *("cel.bind(x, 1, x == 1)", "disk.?model.hasValue()", "volume.size > 1u", "has(system_disk)"),
    *(
        "system_disk &&",
        "system_disk & true",
        "'abc",
        "x.exists(x, true)",
        "[1, 2].exists(1, true)",
    ),
    *(
        "disk.model[0] == 'S'",
        "GiB == 1",
        "matches('a')",
        "now() == 1",
        "disk.firmware_version == ''",
    ),
]


@pytest.mark.parametrize("text", SELECTORS)
def test_selectors(talos: TalosModules, text: str) -> None:
    known = {key: value for key, value in asdict(DISK).items() if _is_known(key)}
    fields = {key: str(value) if key.endswith("size") else value for key, value in known.items()}
    parsed = talos.ask("selector", text=text)
    evaluated = talos.ask("selector", text=text, disk=fields, system_disk=True)
    try:
        Selector.parse(text, VERSION)
    except ExpressionError:
        assert not parsed.is_right
        return
    assert parsed.is_right, parsed.error
    try:
        (matches,) = evaluate(text, [DISK], system_disk="/dev/sda")
    except ExpressionError:
        assert not evaluated.is_right
    else:
        assert matches == evaluated.result


def _is_known(field: str) -> bool:
    return VERSION.at_least(*FIELDS_SINCE.get(field, (0, 0)))


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("disk.size > 120", 11),
        ("system_disk || nothing", 16),
        ("disk.model == 1", 12),
        ("disk.size + 1 > 2u", 11),
        ("system_disk &&", 15),
    ],
)
def test_columns(talos: TalosModules, text: str, column: int) -> None:
    """cel-go counts from 1 too."""
    with pytest.raises(ExpressionError) as caught:
        Selector.parse(text)
    assert caught.value.column == column
    assert f"<input>:1:{column}:" in talos.ask("selector", text=text).error
