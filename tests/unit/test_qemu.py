"""The helpers that boot machines, with a shell in QEMU's place: do they notice what goes wrong?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lib.machines.console import Patience, run_qemu
from tests.lib.machines.hardware import Device, Drive, Firmware, Kernel, Setup
from tests.lib.machines.menus import Chooser, Impatient, Person
from tests.lib.machines.qemu import BootError, command
from tests.lib.machines.screen import Screen
from tests.lib.machines.witness import firmware_line, witness_line

LINE = "imagecache: ready root=/r device=/dev/sr0 blobs=1 bytes=2 images=1"
NEXT = b"n"
USUAL = Patience()
FIRST, SECOND = "One", "The other"


def say(script: str, *, person: Person | None = None, patience: Patience = USUAL) -> str:
    screen = Screen()
    for _ in run_qemu(["sh", "-c", script], screen, person=person, patience=patience):
        pass
    return screen.text


def drawn(*pieces: bytes) -> Screen:
    screen = Screen()
    for piece in pieces:
        screen.feed(piece)
    return screen


@pytest.mark.parametrize("words", ["Boot in 10 s.", "entry will be executed automatically in 3s."])
def test_enter_ends_the_wait_of_the_menu_once(words: str) -> None:
    text = say(f"printf '{words}'; head -c 1 | od -An -c; echo {words}; echo end")
    assert text == f"{words}  \\r\n{words}\nend"


def test_enter_ends_the_wait_of_the_next_menu_too() -> None:
    screen, person = Screen(), Impatient()
    for said, keys in (
        (b"Boot in 9 s.", b"\r"),
        (b"\rBoot in 8 s.", b""),
        (b"\x1b[2JAccess denied", b""),
        (b"\r\nBoot in 9 s.", b"\r"),
    ):
        screen.feed(said)
        assert person.keys(screen) == keys


def test_an_entry_is_started_when_it_is_seen_to_be_chosen() -> None:
    """GRUB marks it with a star, too, and draws a menu in pieces."""
    screen, person = Screen(), Chooser(FIRST, SECOND, NEXT)
    for said, keys in (
        (b"\x1b[5;3H\x1b[0;30;47m*O", b""),
        (b"ne  \x1b[0m\x1b[6;4HThe other", NEXT),
        (b"\x1b[5;3H\x1b[0m One  ", b""),
        (b"\x1b[6;3H\x1b[7m*The ", b""),
        (b"other\x1b[0m", b"\r"),
        (b"\x1b[5;3H", b""),
    ):
        screen.feed(said)
        assert person.keys(screen) == keys


def test_a_machine_that_stays_on_is_ended_when_it_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(BootError, match=r"nothing said for long, and not off; .*\nworking"):
        say(f"echo $$ > {tmp_path}/pid; echo working; exec sleep 600", patience=Patience(clock=1))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_machine_that_works_without_a_word_is_ended() -> None:
    with pytest.raises(BootError, match="nothing said for long"):
        say("while :; do :; done", patience=Patience(work=0.5))


def test_a_machine_that_says_something_is_waited_for() -> None:
    script = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done"
    assert say(script, patience=Patience(clock=2)) == "1\n2\n3\n4\n5\n6"


@pytest.mark.parametrize(
    "words",
    [
        "Kernel panic - not syncing: VFS",
        "BdsDxe: No bootable option",
        "UEFI Interactive Shell v2.2",
        "No bootable device.",
        "grub> ",
        "grub rescue> ",
        r"gru\033[02;10Hb> ",
        r"No boot\033[K\033[02;14H\033[02;14Hable device.",
    ],
)
def test_a_dead_end_is_not_waited_for(words: str) -> None:
    with pytest.raises(BootError, match=r"does not go on; .*\n.*\n.*(grub|Boot|boot|panic|Shell)"):
        say(f"printf '[ 1.0]\n      {words}'; exec sleep 600")


def test_a_failing_emulator_is_an_error() -> None:
    with pytest.raises(BootError, match=r"exit code 3; .*\nno such machine"):
        say("echo no such machine >&2; exit 3")


def test_bytes_that_are_no_text_are_read_too() -> None:
    assert say(r"printf 'a\304b'") == "a�b"


@pytest.mark.parametrize("clear", [b"\x1b[2J\x1b[1;1H", b"\x1b[H\x1b[J", b"\x1bc"])
def test_what_was_cleared_is_remembered_and_not_on_the_screen(clear: bytes) -> None:
    screen = drawn(b"before\r\n", clear, b"after")
    assert (screen.now, screen.text) == ("after", "before\nafter")


def test_what_was_scrolled_off_is_remembered() -> None:
    lines = [f"line {number}" for number in range(200)]
    screen = drawn("\r\n".join(lines).encode())
    assert screen.text.splitlines() == lines
    assert len(screen.now.splitlines()) == 50


def test_a_long_line_is_one() -> None:
    line = "x" * 3000
    assert drawn(line.encode()).text == line


def test_the_mode_of_the_screen_is_no_text_however_it_comes() -> None:
    assert drawn(b"a\x1b[=3hb", b"c\x1b", b"[=", b"3", b"hd").text == "abcd"


def test_firmware_tries_drives_in_their_order_and_a_kernel_goes_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    drives = (Drive(tmp_path / "a,b", Device.CD), Drive(tmp_path / "c", keeps=True))
    argv = command(Setup(drives, Firmware.BIOS))
    assert f"if=none,id=drive0,media=cdrom,format=raw,file={tmp_path}/a,,b" in argv
    assert f"if=none,id=drive1,format=raw,file={tmp_path}/c" in argv
    assert "ide-cd,drive=drive0,bootindex=0" in argv
    assert "virtio-blk-pci,drive=drive1,bootindex=1" in argv
    kernel = Kernel(tmp_path / "k", tmp_path / "i", "quiet")
    assert "virtio-blk-pci,drive=drive1" in command(Setup(drives, kernel))
    argv = command(Setup((Drive(tmp_path / "c"),), kernel))
    assert f"if=none,id=drive0,snapshot=on,format=raw,file={tmp_path}/c" in argv


def test_the_witness_line_is_found_among_others() -> None:
    assert witness_line(f"[ 1.0] x\n{LINE}\n[ 2.0] reboot: Power down") == LINE


@pytest.mark.parametrize("text", ["", f"x {LINE}\n", f"{LINE}\n{LINE}\n"])
def test_no_line_and_two_lines_are_errors(text: str) -> None:
    with pytest.raises(BootError, match=r"[02] lines `imagecache:`, not one"):
        witness_line(text)


def test_the_firmware_line_is_found_among_others() -> None:
    line = "firmware: uefi secureboot=0 pcr11=-"
    assert firmware_line(f"[ 1.0] x\n{line}\n{LINE}\n") == line
    with pytest.raises(BootError, match="no line `firmware:`"):
        firmware_line(f"x {line}\n{LINE}\n")
