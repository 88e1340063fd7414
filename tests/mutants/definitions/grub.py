"""Breaks of GRUB's image, of where it is found and of its menu."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_UNIT = "tests/unit/test_grub.py"

MUTANTS = (
    Mutant(
        "a core's block list begins at the core itself",
        "imager/image/bootloader/grubcore.py",
        "first = first if first_sector is None else first_sector + 1",
        "first = first if first_sector is None else first_sector",
        f"{_UNIT}::test_block_lists_and_sectors",
    ),
    Mutant(
        "a hybrid ISO's core looks for itself a sector too early",
        "imager/image/bootloader/grubcore.py",
        "first = image_sector + CD_SECTOR // _SECTOR + 1",
        "first = image_sector + CD_SECTOR // _SECTOR",
        f"{_UNIT}::test_a_hybrid_isos_image_knows_its_place_and_nothing_else_changes",
    ),
    Mutant(
        "modules are ordered as they are listed",
        "imager/bootassets/grub.py",
        "for other in reversed(needs[name]):",
        "for other in needs[name]:",
        f"{_UNIT}::test_modules_come_after_what_they_need_and_once",
    ),
    Mutant(
        "GRUB's menu takes a title as it is",
        "imager/image/bootloader/grubmenu.py",
        "if not _NAME.fullmatch(entry.grub_title):",
        "if not entry.grub_title:",
        f"{_UNIT}::test_names_that_a_node_could_misread_are_refused",
    ),
    Mutant(
        "GRUB's menu takes arguments as they are",
        "imager/image/bootloader/grubmenu.py",
        r'return _ESCAPED.sub(r"\\\g<0>", word)',
        "return word",
        f"{_UNIT}::test_nothing_is_special_in_arguments",
    ),
    Mutant(
        "an argument may begin with #",
        "imager/image/bootloader/grubmenu.py",
        r"|^\#|",
        "|",
        f"{_UNIT}::test_arguments_that_grub_would_change_are_refused",
    ),
    Mutant(
        "an installed GRUB comes before the given one",
        "imager/bootassets/grub.py",
        "for place in (*([given] if given else []), *asset_places(None)):",
        "for place in (*asset_places(None), *([given] if given else [])):",
        f"{_UNIT}::test_the_places_where_grub_is_looked_for_in_their_order",
    ),
)
