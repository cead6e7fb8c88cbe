"""Which file systems a night keeps its place on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab.errors import ConfigError
from nightlab.lab import Lab
from nightlab.night import Options, preflight
from nightlab.night.disks import FUSE, NETWORK, check_disk, network_disk, network_name

NAMES = {0x6969: "NFS", 0x0BD00BD0: "Lustre", 0x47504653: "GPFS", 0xFF534D42: "CIFS", 0xFE534D42: "SMB2"}
LOCAL = {"ext4": 0xEF53, "xfs": 0x58465342, "btrfs": 0x9123683E, "tmpfs": 0x01021994, "overlay": 0x794C7630}


def test_network_file_systems_are_told_by_their_magic() -> None:
    assert {magic: network_name(magic) for magic in NAMES} == NAMES
    assert {network_name(magic) for magic in LOCAL.values()} == {None}
    assert network_name(0xFF534D42 - (1 << 32)) == "CIFS"  # as a signed 32-bit number
    assert network_name(FUSE, "fuse.sshfs") == "FUSE (sshfs)"
    assert network_name(FUSE, "fuse.gocryptfs") is None
    assert FUSE not in NETWORK


def test_a_local_disk_is_none_also_where_the_folder_is_not_there_yet(tmp_path: Path) -> None:
    assert network_disk(tmp_path / "a" / "b" / "c.sqlite") is None
    check_disk(tmp_path / "a")
    assert network_disk(Path("/proc/self/none")) is None


def test_checkpoints_elsewhere(lab: Lab, tmp_path: Path) -> None:
    there = Lab.open(lab.root, {"checkpoints": str(tmp_path / "local" / "c.sqlite")})
    assert there.checkpoints == tmp_path / "local" / "c.sqlite"
    preflight(there, Options())
    with pytest.raises(ConfigError, match="cannot be kept at 'mysql://u:\\*\\*\\*@h/d'"):
        preflight(Lab.open(lab.root, {"checkpoints": "mysql://u:geheim@h/d"}), Options())
