from __future__ import annotations

import pytest

from imager.support.arch import AMD64, ARM64, Arch
from imager.talos.cmdline import kernel_cmdline
from imager.talos.kernel_arguments import KernelTarget
from imager.talos.version import TalosVersion

# Written from the version table of FORMATS: what comes between the consoles and the end.
COMMON = (
    "init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 "
    "printk.devkmsg=on"
)
IMA = "ima_template=ima-ng ima_appraise=fix ima_hash=sha512"
HALT = "talos.halt_if_installed=1"
TAILS = {
    "v1.6.0": f"{COMMON} {IMA}",
    "v1.7.5": f"{COMMON} {IMA}",
    "v1.8.0": f"{COMMON} {IMA}",
    "v1.9.0": f"{COMMON} {IMA}",
    "v1.10.4": f"{COMMON} {IMA} selinux=1",
    "v1.11.0": f"{COMMON} selinux=1",
    "v1.12.0": f"{COMMON} selinux=1 module.sig_enforce=1",
    "v1.13.9": f"{COMMON} selinux=1 module.sig_enforce=1 proc_mem.force_override=never",
    "v1.14.0": "slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 "
    "module.sig_enforce=1 proc_mem.force_override=never",
}
OLD = ("v1.6.0", "v1.7.5")


def expected(version: str, arch: Arch, *, iso: bool) -> str:
    if arch is ARM64:
        consoles = "console=ttyAMA0 console=tty0"
    else:
        consoles = "console=ttyS0 console=tty0" if version in OLD else "console=tty0"
    halt = f" {HALT}" if iso and version not in OLD else ""
    return f"talos.platform=metal {consoles}{halt} {TAILS[version]}"


@pytest.mark.parametrize("iso", [True, False])
@pytest.mark.parametrize("arch", [AMD64, ARM64], ids=lambda arch: arch.name)
@pytest.mark.parametrize("version", TAILS)
def test_the_line_of_every_version(version: str, arch: Arch, iso: bool) -> None:
    line = kernel_cmdline(KernelTarget(TalosVersion.parse(version), arch, iso=iso))
    assert line == expected(version, arch, iso=iso)


def test_the_line_of_1_9_letter_by_letter() -> None:
    assert kernel_cmdline(KernelTarget(TalosVersion.parse("v1.9.0"), AMD64, iso=True)) == (
        "talos.platform=metal console=tty0 talos.halt_if_installed=1 init_on_alloc=1 slab_nomerge "
        "pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on "
        "ima_template=ima-ng ima_appraise=fix ima_hash=sha512"
    )


def line(*extra: str, arch: Arch = AMD64) -> list[str]:
    return kernel_cmdline(KernelTarget(TalosVersion.parse("v1.9.0"), arch), extra).split(" ")


def test_others_append_in_their_order() -> None:
    assert line("quiet", "a=1", "a=2")[-3:] == ["quiet", "a=1", "a=2"]
    assert line("quiet", "a=1")[:-2] == line()


def test_a_minus_deletes_by_name() -> None:
    assert line("-init_on_alloc") == [item for item in line() if item != "init_on_alloc=1"]
    assert line("-slab_nomerge") == [item for item in line() if item != "slab_nomerge"]


def test_a_minus_deletes_by_name_and_value() -> None:
    assert line("-pti=on") == [item for item in line() if item != "pti=on"]
    assert line("-pti=off") == line()
    assert line("-console=tty0", arch=ARM64) == [
        item for item in line(arch=ARM64) if item != "console=tty0"
    ]


def test_a_minus_deletes_every_one_of_the_name_and_nothing_alike() -> None:
    assert not [item for item in line("-console", arch=ARM64) if item.startswith("console=")]
    assert "consoleblank=0" in line("-console")
    assert line("-pt") == line()


def test_a_minus_deletes_what_came_before_it_alone() -> None:
    assert line("quiet", "-quiet") == line()
    assert line("-quiet", "quiet")[-1] == "quiet"


def test_console_takes_the_place_of_the_defaults() -> None:
    assert line("console=ttyS1")[:3] == ["talos.platform=metal", "console=ttyS1", "init_on_alloc=1"]
    changed = line("console=ttyS1", arch=ARM64)
    assert [item for item in changed if item.startswith("console=")] == ["console=ttyS1"]


def test_several_consoles_all_stay_in_their_order() -> None:
    assert line("console=ttyS0,115200", "quiet", "console=tty1", "console=tty0")[1:4] == [
        "console=ttyS0,115200",
        "console=tty1",
        "console=tty0",
    ]


def test_the_platform_is_overwritten_in_its_place() -> None:
    changed = line("talos.platform=nocloud")
    assert changed[0] == "talos.platform=nocloud"
    assert changed[1:] == line()[1:]


def test_a_deleted_console_can_be_given_again() -> None:
    changed = line("-console", "console=ttyS3")
    assert [item for item in changed if item.startswith("console=")] == ["console=ttyS3"]
    assert changed[-1] == "console=ttyS3"


def test_deleting_comes_after_all_values_of_the_name() -> None:
    """Talos groups the extra arguments by name before it looks at them."""
    changed = line("console=ttyS3", "-console", "console=ttyS4")
    assert not [item for item in changed if item.startswith("console=")]


def test_a_repeated_argument_stands_beside_the_first() -> None:
    assert line("a=1", "quiet", "a=2", "a")[-4:] == ["a=1", "a=2", "a", "quiet"]
    place = line().index("init_on_alloc=1")
    assert line("quiet", "init_on_alloc=0")[place : place + 2] == [
        "init_on_alloc=1",
        "init_on_alloc=0",
    ]


def test_no_value_is_written_without_its_equals_sign() -> None:
    assert line("foo=", "bar")[-2:] == ["foo", "bar"]
    assert line("-slab_nomerge=") == line("-slab_nomerge")


def test_a_value_that_was_deleted_keeps_its_place_for_another() -> None:
    assert line("-pti=on", "pti=auto") == [
        "pti=auto" if item == "pti=on" else item for item in line()
    ]


def test_quotes_keep_words_together() -> None:
    quoted = ('a.dyndbg="file x.c +p"', 'b.dyndbg="file y.c +p"')
    assert " ".join(line(*quoted)).endswith(" ".join(quoted))
    assert " ".join(line("say", 'x="never ends', "say")).endswith('say x="never ends say')


def test_arguments_of_a_board_replace_those_of_the_platform() -> None:
    target = KernelTarget(TalosVersion.parse("v1.9.0"), ARM64, iso=True)
    board = ["console=ttyS2", "board=x", "talos.platform=metal"]
    found = kernel_cmdline(target, ["board=y"], board=board)
    start = "talos.platform=metal console=ttyS2 talos.halt_if_installed=1 board=x board=y init_on"
    assert found.startswith(start)
