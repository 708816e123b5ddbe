"""Where the spool lies: private, ours, writable, and on no network file system."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest

from bucketboard.errors import InvalidError
from bucketboard.replication import spool
from bucketboard.replication.spool import default_directory, prepare_directory

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
30 21 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/local rw - xfs /dev/sdb1 rw
32 21 0:41 / /homes rw - ext4 /dev/sdc1 rw
33 21 0:42 / /mnt/with\\040space rw master:3 - cifs //server/share rw
34 21 0:43 / /mnt/dé\\040pôt rw - lustre mgs:/scratch rw
35 21 0:44 / /fuse rw - fuse.sshfs me@host: rw
36 21 0:45 / /over rw - ext4 /dev/sdd1 rw
37 21 0:46 / /over rw - beegfs beegfs_nodev rw
38 21 0:47 / /disk rw - fuseblk /dev/sde1 rw
39 21 0:48 / /auto rw - autofs systemd-1 rw
40 21 0:49 / /auto rw - nfs server:/x rw
"""


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home", True),
        ("/home/me/.local/state", True),
        ("/home/local/me", False),
        ("/homes/me", False),
        ("/mnt/with space/x", True),
        ("/mnt/with", False),
        pytest.param(
            "/mnt/dé pôt/x",
            True,
        ),
        ("/fuse/x", True),
        ("/over/x", True),
        ("/disk/x", False),
        ("/auto/x", True),
        ("/", False),
        ("/tmp/../home/x", True),
    ],
)
def test_a_path_lies_on_the_file_system_mounted_last_and_deepest(
    path: str, expected: bool, mountinfo: Path
) -> None:
    assert spool.on_network(Path(path), mountinfo) is expected


def test_a_link_lies_where_it_leads(mountinfo: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/home/me")
    assert spool.on_network(tmp_path / "link" / "spool", mountinfo)


def test_without_a_mount_table_nothing_is_known(tmp_path: Path) -> None:
    assert not spool.on_network(Path("/home"), tmp_path / "missing")


def test_the_default_is_the_users_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for unset in ("auto", "none", ""):
        monkeypatch.setenv("BUCKETBOARD_SPOOL", unset)
        assert default_directory() == tmp_path / "state" / "bucketboard" / "spool"
    monkeypatch.setenv("BUCKETBOARD_SPOOL", "/elsewhere")
    assert default_directory() == Path("/elsewhere")


def test_a_home_on_the_network_leads_to_the_local_temporary_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    everything = tmp_path / "mountinfo"
    everything.write_text("21 1 0:40 / / rw - nfs4 server:/ rw\n")
    on_network = functools.partial(spool.on_network, mountinfo=everything)
    monkeypatch.setattr(spool, "on_network", on_network)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    directory = prepare_directory("auto")
    assert directory == tmp_path / "tmp" / f"bucketboard-spool-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory in spool.default_directories()
    assert prepare_directory(str(tmp_path / "chosen")) == tmp_path / "chosen"


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_a_new_directory_is_private(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        directory = prepare_directory(str(tmp_path / "a" / "b" / "spool"))
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert prepare_directory(str(directory)) == directory


def test_a_directory_of_ours_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)
    assert prepare_directory(str(tmp_path / "spool")).stat().st_mode & 0o777 == 0o755


def test_a_directory_shared_with_others_is_not_taken_from_them(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(InvalidError, match="others may write"):
        prepare_directory(str(shared))
    assert shared.stat().st_mode & 0o7777 == 0o1777


@root
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    os.chown(tmp_path / "spool", 65534, 65534)
    with pytest.raises(InvalidError, match="another user") as caught:
        prepare_directory(str(tmp_path / "spool"))
    assert "spool=" in caught.value.hint


@root
def test_a_temporary_directory_that_somebody_else_prepared_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    everything = tmp_path / "mountinfo"
    everything.write_text("21 1 0:40 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(spool, "on_network", functools.partial(spool.on_network, mountinfo=everything))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"bucketboard-spool-{os.getuid()}").mkdir(mode=0o777)
    os.chown(tmp_path / f"bucketboard-spool-{os.getuid()}", 65534, 65534)
    with pytest.raises(InvalidError):
        prepare_directory("auto")


def test_a_file_in_its_place_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    for place in ("spool", "spool/below"):
        with pytest.raises(OSError, match="spool"):
            prepare_directory(str(tmp_path / place))


@root
def test_a_read_only_file_system_is_an_os_error(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("can't mount")
    try:
        (tmp_path / "spool").mkdir(mode=0o700)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        for name in ("spool", "new/spool"):
            with pytest.raises(OSError):  # noqa: PT011
                prepare_directory(str(tmp_path / name))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_write_permission_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        prepare_directory(str(tmp_path / "spool"))
