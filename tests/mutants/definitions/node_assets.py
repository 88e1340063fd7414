"""Breaks of how the node's initramfs is made."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SAME_BYTES = "tests/unit/test_node_initramfs.py"
_SAME_BYTES_ = "tests/oracle/test_node_initramfs.py"

MUTANTS = (
    Mutant(
        "a wheel may lead out of its folder",
        "imager/distro/wheels.py",
        "    check_path(member.filename)\n",
        "",
        f"{_SAME_BYTES}::test_a_wheel_whose_names_lead_elsewhere_is_refused",
    ),
    Mutant(
        "scripts of a wheel are taken for modules",
        "imager/distro/wheels.py",
        '.partition("/")[0].endswith(".data")',
        '.partition("/")[0].endswith(".none")',
        f"{_SAME_BYTES}::test_a_wheel_whose_names_lead_elsewhere_is_refused",
    ),
    Mutant(
        "a wheel in the cache is believed",
        "imager/distro/wheels.py",
        "return path.is_file() and _sha256(path) == wheel.sha256",
        "return path.is_file()",
        f"{_SAME_BYTES}::test_a_damaged_wheel_in_the_cache_is_downloaded_again_and_pips_failure_told",
    ),
    Mutant(
        "bytecode is checked against a source that is not there",
        "imager/distro/bytecode.py",
        "(1).to_bytes(4",
        "(3).to_bytes(4",
        f"{_SAME_BYTES}::test_a_module_is_compiled_without_a_check_of_its_source",
    ),
    Mutant(
        "another Python's bytecode is put in",
        "imager/distro/bytecode.py",
        "MAGIC_NUMBER != _NODE_MAGIC or not",
        "not",
        f"{_SAME_BYTES}::test_what_cannot_be_compiled_stays_as_it_is",
    ),
    Mutant(
        "the image's time is the clock's",
        "imager/formats/squashfs.py",
        '("-mkfs-time", str(timestamp), "-all-time", str(timestamp))',
        '("-mkfs-time", str(timestamp))',
        f"{_SAME_BYTES_}::test_two_makes_give_the_same_bytes_whatever_umask_and_clock",
    ),
    Mutant(
        "a packed image stands for other files",
        "imager/formats/squashfs.py",
        "hashlib.sha256(hash_content(self.tar) + made_by)",
        "hashlib.sha256(made_by)",
        f"{_SAME_BYTES}::test_an_image_is_packed_once",
    ),
    Mutant(
        "libraries keep the names of their releases",
        "imager/distro/noderoot.py",
        r"([^/]+?\.so\.[0-9]+)[0-9.]*",
        r"([^/]+?\.so\.[0-9.]+)",
        f"{_SAME_BYTES}::test_libraries_have_the_names_that_programs_ask_for",
    ),
    Mutant(
        "a program that is cut off goes unnoticed",
        "imager/content/elf.py",
        "if any(segment.offset + segment.size > len(data) for segment in segments):",
        "if any(segment.size < 0 for segment in segments):",
        f"{_SAME_BYTES}::test_a_cut_off_program_is_refused",
    ),
    Mutant(
        "what was compiled by the user comes along",
        "imager/distro/noderoot.py",
        'elif entry.name != "__pycache__":',
        "else:",
        f"{_SAME_BYTES}::test_the_files_of_this_package_are_in_it_and_its_profiles",
    ),
)
