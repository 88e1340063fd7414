"""Breaks of how a machine's cache is found, copied, told of and examined."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_RUN = "tests/oracle/test_node_run.py"
_CLIENTS = "tests/oracle/test_node_clients.py"
_STATUS = "tests/unit/test_node_status.py"

MUTANTS = (
    Mutant(
        "a medium is asked before the disk",
        "imager/node/mounts.py",
        "(self.disk, *reversed(self.media))",
        "(*reversed(self.media), self.disk)",
        f"{_RUN}::test_an_iso_is_copied_to_an_empty_disk_and_is_not_needed_again",
    ),
    Mutant(
        "the disk stays writable after a copy",
        "imager/node/mounts.py",
        "remount(volume.root, writable=False)",
        "pass",
        f"{_RUN}::test_an_iso_is_copied_to_an_empty_disk_and_is_not_needed_again",
    ),
    Mutant(
        "a stick that was pulled out stays a root",
        "imager/node/mounts.py",
        "if _place(volume.device) not in there:",
        "if not there:",
        f"{_RUN}::test_a_stick_that_is_pulled_out_is_gone",
    ),
    Mutant(
        "the table of a larger disk is not grown",
        "imager/node/mounts.py",
        "gained = grow_disk(disk)",
        "gained = 0",
        f"{_RUN}::test_a_disk_image_on_a_larger_disk_is_ready_at_once_and_its_table_grows",
    ),
    Mutant(
        "a volume is made though the configuration has none",
        "imager/node/sync_scheduler.py",
        "if self._volumes.disk is None and not self._volumes.can_make_disk:",
        "if self._volumes.disk is None and self._volumes.can_make_disk:",
        f"{_RUN}::test_without_a_volume_config_the_iso_serves_and_nothing_is_copied",
    ),
    Mutant(
        "what failed is taken for copied",
        "imager/node/sync_scheduler.py",
        "self._copy(medium, disk)\n                    self._copied.add(medium)\n",
        "self._copied.add(medium)\n                    self._copy(medium, disk)\n",
        f"{_RUN}::test_a_damaged_blob_is_not_copied_and_the_rest_is_served",
    ),
    Mutant(
        "a stick in the place of another is taken for that",
        "imager/node/supervisor.py",
        "if before[root.path] == now.get(root.path)}",
        "}",
        f"{_RUN}::test_a_stick_that_is_swapped_for_another_is_noticed",
    ),
    Mutant(
        "what a killed run has mounted stays in the way",
        "imager/node/mounts.py",
        "if self._devices is None:\n            self._clear()",
        "if False:\n            self._clear()",
        f"{_RUN}::test_a_copy_that_was_killed_is_taken_up",
    ),
    Mutant(
        "a medium that cannot be read is a root that is ready",
        "imager/node/supervisor.py",
        "if any(root.cache is not None or not root.problems for root in roots):",
        "if roots:",
        f"{_RUN}::test_a_medium_that_cannot_be_read_is_told_and_the_disk_serves",
    ),
    Mutant(
        "the volume is made on the stick itself",
        "imager/node/volumes.py",
        "if not {each.path, each.parent} & disks)",
        "if disks)",
        f"{_RUN}::test_the_volume_is_never_made_on_the_stick_itself",
    ),
    Mutant(
        "systemd is told before the copy",
        "imager/node/supervisor.py",
        "return self._copies.settled",
        "return True",
        f"{_CLIENTS}::test_systemd_is_told_when_the_copy_is_done_and_not_before",
    ),
    Mutant(
        "the cache is on though it is turned off",
        "imager/node/run.py",
        "if node.config.image_cache.enabled:",
        "if node.config.image_cache.where:",
        f"{_RUN}::test_it_is_off_unless_it_is_turned_on",
    ),
    Mutant(
        "two runs hold one folder",
        "imager/node/status.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        f"{_STATUS}::test_one_run_holds_the_folder",
    ),
    Mutant(
        "what is there by now is still told to be absent",
        "imager/node/miss_log.py",
        "elif status in _OK:",
        "elif not status:",
        f"{_STATUS}::test_what_was_asked_for_in_vain_is_kept_until_it_is_there",
    ),
    Mutant(
        "the doctor does not see a label in the wrong case",
        "imager/node/doctor_volumes.py",
        "elif label != IMAGE_CACHE and label.upper() == IMAGE_CACHE:",
        "elif label != IMAGE_CACHE and label.lower() == IMAGE_CACHE:",
        f"{_RUN}::test_the_doctor_tells_of_a_partition_with_its_label_in_the_wrong_case",
    ),
    Mutant(
        "the doctor does not look at blobs",
        "imager/node/doctor_volumes.py",
        "for problem in found.problems]",
        "for problem in found.notes]",
        f"{_RUN}::test_a_blob_that_was_damaged_on_the_disk_is_served_from_the_iso",
    ),
    Mutant(
        "the doctor does not see that a volume is too small",
        "imager/node/doctor.py",
        "if plan.missing > free:",
        "if plan.missing > free + plan.size:",
        f"{_RUN}::test_a_volume_that_the_cache_does_not_fit_is_told_by_how_much",
    ),
)
