"""Breaks of how files are read out of the layers of images, and boot assets taken from them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_ROOT = "tests/unit/test_oci_rootfs.py"
_ASSETS = "tests/unit/test_assets_from_image.py"

MUTANTS = (
    Mutant(
        "whiteouts of images are passed over",
        "imager/oci/roottree.py",
        "            folder.children.pop(parts[-1], None)\n",
        "            pass\n",
        f"{_ROOT}::test_layers_are_applied",
    ),
    Mutant(
        "opaque folders of images keep what is below",
        "imager/oci/roottree.py",
        "            folder.children.clear()\n",
        "            pass\n",
        f"{_ROOT}::test_layers_are_applied",
    ),
    Mutant(
        "a whiteout removes what its own layer has",
        "imager/oci/roottree.py",
        "            _put(root, entry.parts, entry.what)\n",
        "            _put(root, entry.parts, entry.what)\n"
        "        elif isinstance(entry.what, Whiteout):\n"
        "            _remove(root, entry.parts, opaque=entry.what.opaque)\n",
        f"{_ROOT}::test_layers_are_applied",
    ),
    Mutant(
        "the lowest layer of an image wins",
        "imager/oci/rootfs.py",
        "            layers.insert(0, layer_entries(",
        "            layers.append(layer_entries(",
        f"{_ASSETS}::test_removed_files_are_not_found",
    ),
    Mutant(
        "all layers of an image are fetched",
        "imager/bootassets/from_image.py",
        "            if _is_enough(whole, arch):\n",
        "            if not whole.assets:\n",
        f"{_ASSETS}::test_only_the_layers_that_are_needed",
    ),
    Mutant(
        "layers on this machine are not checked",
        "imager/cache/pull.py",
        "        image.fetch_blob(layer, Discard())\n",
        "",
        f"{_ASSETS}::test_a_layout_of_other_bytes",
    ),
    Mutant(
        "kernel and initramfs are those of the lowest layer with both",
        "imager/bootassets/from_image.py",
        "        system = system or (found if found.bootable else None)\n",
        "        system = found if found.bootable else system\n",
        f"{_ASSETS}::test_kernel_and_initramfs_are_of_the_topmost_layer_with_both",
    ),
    Mutant(
        "a layer may write above the root",
        "imager/oci/layerfiles.py",
        'if ".." in parts or ',
        "if ",
        f"{_ROOT}::test_hostile_names",
    ),
    Mutant(
        "a layer may decompress to any size",
        "imager/oci/layerfiles.py",
        "if not 0 <= member.offset_data + member.size <= _LARGEST:",
        "if member.offset_data + member.size < 0:",
        f"{_ROOT}::test_bombs",
    ),
    Mutant(
        "absolute links of an image start in their folder",
        "imager/oci/roottree.py",
        'trail = trail[:1] if node.target.startswith("/") else trail',
        "trail = list(trail)",
        f"{_ROOT}::test_links_in_folders",
    ),
    Mutant(
        "the base installer of a profile is always pulled",
        "imager/app/boot_assets.py",
        "if base is None or not _lacks_assets(assets, profile):",
        "if base is None:",
        f"{_ASSETS}::test_a_base_installer_is_the_last_resort",
    ),
    Mutant(
        "boot assets of an image are unpacked each time",
        "imager/app/assets_of_image.py",
        "        if not folder.is_dir():\n",
        "        if folder:\n",
        f"{_ASSETS}::test_a_second_build_asks_for_nothing",
    ),
    Mutant(
        "a part of a UKI is taken with its padding",
        "imager/bootassets/from_image.py",
        "slice(section.offset, section.virtual_size)",
        "slice(section.offset, section.raw_size)",
        f"{_ASSETS}::test_kernel_and_initramfs_of_a_uki",
    ),
    Mutant(
        "the label of a base image is taken for Talos's version",
        "imager/bootassets/from_image.py",
        'yield labels.get(_TALOS_LABEL, "")',
        'yield labels.get(_IMAGE_LABEL, "")',
        f"{_ASSETS}::test_the_version_of_an_image",
    ),
)
