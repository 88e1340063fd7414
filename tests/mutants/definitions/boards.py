"""Breaks of what writes to disks, of installers, overlays, and keys that are elsewhere."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DEVICE = "tests/oracle/test_device.py"
_OVERLAY = "tests/oracle/test_overlay.py"
_BOARD = "tests/oracle/test_output_overlay.py"
_INSTALLER = "tests/oracle/test_installer.py"
_SIGNERS = "tests/oracle/test_remote_signers.py"

MUTANTS = (
    Mutant(
        "a signature that is not valid is taken",
        "imager/efi/remote.py",
        "if not verifies(self.public_key, signature, digest):",
        "if not signature:",
        f"{_SIGNERS}::test_a_service_that_signs_with_another_key",
    ),
    Mutant(
        "a certificate of another key in a token is taken",
        "imager/efi/remote.py",
        "if key.public_key != signer.public_key:",
        "if not key.public_key:",
        f"{_SIGNERS}::test_a_certificate_of_another_key",
    ),
    Mutant(
        "a base of two layers keeps its own boot assets",
        "imager/image/installer.py",
        "return layers[:1] if len(layers) == _LAYERS_WITH_ASSETS else layers",
        "return layers",
        f"{_INSTALLER}::test_a_base_with_boot_assets_of_its_own",
    ),
    Mutant(
        "boot assets of a base are fetched and left out",
        "imager/app/base_installer.py",
        "for layer in base_layers(root.layers))",
        "for layer in root.layers)[: len(base_layers(root.layers))]",
        f"{_INSTALLER}::test_a_base_with_boot_assets_of_its_own",
    ),
    Mutant(
        "an installer of 1.9 has a UKI",
        "imager/talos/versions.py",
        "unified_installer=since(1, 10),",
        "unified_installer=since(1, 9),",
        f"{_INSTALLER}::test_before_1_10_it_has_kernel_and_initramfs",
    ),
    Mutant(
        "an overlay sees no artifacts",
        "imager/image/overlay.py",
        '"artifactsPath": f"{_INSIDE}/{_ARTIFACTS}",',
        '"artifactsPath": _INSIDE,',
        f"{_OVERLAY}::test_what_it_adds_to_a_disk",
    ),
    Mutant(
        "a profile of an overlay image is not checked by itself",
        "imager/app/overlay_image.py",
        "load_profile(SMALLEST_PROFILE, layer, source=source)",
        "load_profile(SMALLEST_PROFILE, {}, source=source)",
        f"{_BOARD}::test_a_profile_of_the_image_that_is_none",
    ),
    Mutant(
        "a built-in profile comes before that of an overlay image",
        "imager/app/overlay_image.py",
        "        if text is None:",
        '        if text is None or name == "aws":',
        f"{_BOARD}::test_a_profile_of_the_image_is_the_base",
    ),
    Mutant(
        "an installer image has the installer of an overlay under its own name",
        "imager/image/overlay.py",
        'path=f"{_CARRIED}/{_INSTALLERS}/default"',
        'path=f"{_CARRIED}/{_INSTALLERS}/{overlay.name}"',
        f"{_BOARD}::test_an_installer_carries_the_overlay",
    ),
    Mutant(
        "an installer image carries the overlay of this machine's architecture",
        "imager/app/overlay.py",
        "(image.asset, image.files.arch) != (asset, arch)",
        "image.asset != asset",
        f"{_BOARD}::test_an_installer_for_another_architecture",
    ),
    Mutant(
        "partitions begin where the firmware of a board is",
        "imager/image/disk.py",
        "overlay.offset if overlay else MIB",
        "MIB",
        f"{_BOARD}::test_a_disk_for_a_board",
    ),
    Mutant(
        "what an overlay copies is not in the partition EFI",
        "imager/image/bootloader/esp.py",
        "tree = _replaced(tree, overlay.esp)",
        "tree = _replaced(tree, tree)",
        f"{_BOARD}::test_a_disk_for_a_board",
    ),
    Mutant(
        "arguments of a board follow those of the platform",
        "imager/talos/cmdline.py",
        "parameters |= _grouped(board)",
        "parameters = _grouped(board) | parameters",
        "tests/unit/test_cmdline.py::test_arguments_of_a_board_replace_those_of_the_platform",
    ),
)
