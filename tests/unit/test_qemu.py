"""The helper that boots machines, with a shell in QEMU's place: does it notice what goes wrong?"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.lib.machines.qemu import BootError, console, firmware_line, witness_line

LINE = "imagecache: ready root=/r device=/dev/sr0 blobs=1 bytes=2 images=1"


def say(script: str, *, seconds: float = 20) -> str:
    return "".join(console(["sh", "-c", script], seconds=seconds))


@pytest.mark.parametrize("words", ["Boot in 10 s.", "entry will be executed automatically in 3s."])
def test_enter_ends_the_wait_of_the_menu_once(words: str) -> None:
    text = say(f"printf '{words}'; head -c 1 | od -An -c; echo {words}; echo end")
    assert text == f"{words}  \\r\n{words}\nend\n"


def test_a_machine_that_stays_on_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(BootError, match=r"not off after 1 s; .*\nworking"):
        say(f"echo $$ > {tmp_path}/pid; echo working; exec sleep 60", seconds=1)
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    "words",
    [
        "Kernel panic - not syncing: VFS",
        "BdsDxe: No bootable option",
        "UEFI Interactive Shell v2.2",
        "No bootable device.",
        "grub> ",
        "grub rescue> ",
        r"gru\033[01;04Hb> ",
    ],
)
def test_a_dead_end_is_not_waited_for(words: str) -> None:
    with pytest.raises(BootError, match=r"does not go on; .*\n.*1\.0"):
        say(f"printf '[ 1.0] {words}'; exec sleep 60")


def test_a_failing_emulator_is_an_error() -> None:
    with pytest.raises(BootError, match=r"exit code 3; .*\nno such machine"):
        say("echo no such machine >&2; exit 3")


def test_bytes_that_are_no_text_are_read_too() -> None:
    assert say(r"printf 'a\304b'") == "a�b"


def test_the_witness_line_is_found_among_others() -> None:
    assert witness_line(f"[ 1.0] x\r\n{LINE}\r\n[ 2.0] reboot: Power down\r\n") == LINE


@pytest.mark.parametrize("text", ["", f"x {LINE}\r\n", f"{LINE}\r\n{LINE}\r\n"])
def test_no_line_and_two_lines_are_errors(text: str) -> None:
    with pytest.raises(BootError, match=r"[02] lines `imagecache:`, not one"):
        witness_line(text)


def test_the_firmware_line_is_found_among_others() -> None:
    line = "firmware: uefi secureboot=0 pcr11=-"
    assert firmware_line(f"[ 1.0] x\r\n{line}\r\n{LINE}\r\n") == line
    with pytest.raises(BootError, match="no line `firmware:`"):
        firmware_line(f"x {line}\r\n{LINE}\r\n")
