"""The breaks of what a machine knows of its disks and does to them; see `definitions`."""

from __future__ import annotations

from tests.mutants.definitions import Mutant

_DISKS = "tests/oracle/test_node_disks.py"
_DEVICES = "tests/unit/test_node_devices.py"
_PROBE = "tests/unit/test_node_probe.py"

NODE_DISKS = (
    Mutant(
        "the primary table is written before the backup",
        "imager/media/gpt_edit.py",
        "_write(file, self._backup_array * self.sector_size, self._backup)",
        "_write(file, self.sector_size, self._primary)",
        (f"{_DISKS}::test_a_cut_at_any_write_leaves_a_sound_table",),
    ),
    Mutant(
        "entries that were there are lost",
        "imager/media/gpt_edit.py",
        "entries = self._entries[:start] + raw + self._entries[start + ENTRY.size :]",
        "entries = raw.rjust(start + ENTRY.size, bytes(1)).ljust(len(self._entries), bytes(1))",
        (f"{_DISKS}::test_a_system_disk_keeps_all_that_it_has",),
    ),
    Mutant(
        "free space ends at the last partition",
        "imager/media/gpt_edit.py",
        "for begin, end in (*taken, (self.usable.end, self.usable.end)):",
        "for begin, end in taken:",
        (f"{_DISKS}::test_a_system_disk_keeps_all_that_it_has",),
    ),
    Mutant(
        "what a larger disk has gained is not planned with",
        "imager/media/gpt_edit.py",
        "end if is_grown else min((usable_last + 1) * sector_size, end),",
        "min((usable_last + 1) * sector_size, end),",
        (f"{_DISKS}::test_a_disk_that_has_become_larger_is_used_to_its_end",),
    ),
    Mutant(
        "the backup does not count",
        "imager/media/gpt_edit.py",
        "if backup is None:",
        "if backup is None or backup:",
        (f"{_DISKS}::test_a_damaged_copy_is_mended_from_the_other",),
    ),
    Mutant(
        "a damaged backup is not mended",
        "imager/media/gpt_edit.py",
        "same and copy.alternate == last,",
        "copy.alternate == last,",
        (f"{_DISKS}::test_a_damaged_copy_is_mended_from_the_other",),
    ),
    Mutant(
        "the table has the entry before there is a file system",
        "imager/node/provision.py",
        "path = _appeared(disk, plan.number).path",
        "path = _appeared(disk, plan.number).path; _write_entry(plan)",
        (f"{_DISKS}::test_a_failed_mkfs_leaves_nothing",),
    ),
    Mutant(
        "any free range will do",
        "imager/node/provision.py",
        "free = max(ranges, key=lambda each: each.size)",
        "free = ranges[0]",
        (f"{_DISKS}::test_the_largest_free_range_is_taken",),
    ),
    Mutant(
        "a table that was begun is somebody's",
        "imager/node/provision.py",
        "return is_blank(disk, beside=mbr)",
        "return is_blank(disk)",
        (f"{_DISKS}::test_a_cut_on_a_blank_disk_is_taken_up",),
    ),
    Mutant(
        "an ISO with a table is written to",
        "imager/node/provision.py",
        "volume = probe(disk)\n    if volume is not None:",
        "volume = probe(disk)\n    if volume is not None and not disk.size:",
        (f"{_DISKS}::test_a_hybrid_iso_is_never_written_though_it_has_a_table",),
    ),
    Mutant(
        "a partition with the label is formatted whatever it holds",
        "imager/node/provision.py",
        "if volume is None and is_blank(device):",
        "if volume is None:",
        (f"{_DISKS}::test_a_partition_with_the_label_is_formatted_only_if_it_is_blank",),
    ),
    Mutant(
        "a read-only disk is planned with",
        "imager/node/provision.py",
        "if disk.read_only:",
        "if disk.read_only and not disk.size:",
        (f"{_DISKS}::test_why_not_is_told",),
    ),
    Mutant(
        "a partition that is left over is in the way",
        "imager/node/blkpg.py",
        "if code == errno.EBUSY:\n        remove_partition",
        "if code == errno.EPERM:\n        remove_partition",
        (f"{_DISKS}::test_what_the_kernel_still_knows_is_in_nobodys_way",),
    ),
    Mutant(
        "the file system does not grow",
        "imager/node/growing.py",
        'run_tool(["resize2fs", device.path], package="e2fsprogs")',
        "pass",
        (f"{_DISKS}::test_a_volume_grows_to_its_maximum_and_only_if_it_may",),
    ),
    Mutant(
        "a volume grows beyond its maximum",
        "imager/node/growing.py",
        "size = max(entry.size, min(limit, entry.size",
        "size = max(entry.size, max(limit, entry.size",
        (f"{_DISKS}::test_a_volume_grows_to_its_maximum_and_only_if_it_may",),
    ),
    Mutant(
        "growing that was cut off is not taken up",
        "imager/node/growing.py",
        "if size > device.size:",
        "if size > max(device.size, entry.size):",
        (f"{_DISKS}::test_growing_is_taken_up",),
    ),
    Mutant(
        "programs run from what is mounted",
        "imager/node/mounting.py",
        "_SAFE = _NO_SUID | _NO_DEVICES | _NO_EXECUTION",
        "_SAFE = _NO_SUID | _NO_DEVICES",
        (f"{_DISKS}::test_mounts_are_made_with_care_and_mended",),
    ),
    Mutant(
        "what is in use cannot be unmounted",
        "imager/node/mounting.py",
        "code = _unmount(target, _NO_FOLLOW | _DETACH)",
        "pass",
        (f"{_DISKS}::test_mounts_are_made_with_care_and_mended",),
    ),
    Mutant(
        "the oldest mount counts",
        "imager/node/mounting.py",
        "_mounted(mounts)[::-1]",
        "_mounted(mounts)",
        (f"{_DEVICES}::test_mounts_are_read_with_their_escapes",),
    ),
    Mutant(
        "a part of a long name is a label",
        "imager/media/fat_foreign.py",
        "is_label = attributes & (_LABEL | _FOLDER) == _LABEL and attributes & _LONG != _LONG",
        "is_label = attributes & (_LABEL | _FOLDER) == _LABEL",
        (f"{_PROBE}::test_a_label_that_was_removed_or_is_a_file_is_none",),
    ),
    Mutant(
        "a removed label counts",
        "imager/media/fat_foreign.py",
        "if is_label and alias[0] != _DELETED:",
        "if is_label:",
        (f"{_PROBE}::test_a_label_that_was_removed_or_is_a_file_is_none",),
    ),
    Mutant(
        "the end of a disk is not looked at",
        "imager/node/probe.py",
        "return not any(head) and not any(_read(device.path, device.size - edge, edge))",
        "return not any(head)",
        (f"{_PROBE}::test_a_disk_is_blank_when_its_ends_are_zeros",),
    ),
    Mutant(
        "sysfs counts in the disk's sectors",
        "imager/node/devices.py",
        "sectors * _SYSFS_SECTOR,",
        'sectors * (_number(disk / "queue" / "logical_block_size") or _SYSFS_SECTOR),',
        (f"{_DEVICES}::test_disks_and_partitions_are_listed",),
    ),
    Mutant(
        "a label that the kernel does not know is none",
        "imager/node/devices.py",
        "return replace(device, partition_label=entry.label)",
        "return device",
        (f"{_DISKS}::test_devices_and_what_is_on_them",),
    ),
    Mutant(
        "the first partition of Talos's decides, not META",
        "imager/node/systemdisk.py",
        '_LABELS = ("META", "STATE", "EPHEMERAL")',
        '_LABELS = ("EPHEMERAL", "STATE", "META")',
        (f"{_DEVICES}::test_the_system_disk_has_the_partitions_of_talos",),
    ),
)
