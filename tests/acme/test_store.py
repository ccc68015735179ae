"""What is on disk: whole or not at all, for its owner alone, and enough to go on after anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2p_copy.acme import limits
from p2p_copy.acme.settings import AcmeSettings
from p2p_copy.acme.store import Store, Tries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = x509.Name([])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "p2p-copy" / "acme"


def a_store(folder: Path, *names: str, directory: str = "letsencrypt") -> Store:
    store = Store(AcmeSettings(names or ("relay.example",), folder, directory=directory))
    store.make()
    return store


def chain_for(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a certificate (PEM) for a key."""
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    made = builder.not_valid_after(now + timedelta(days=90)).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def obtain(store: Store, obtained: float = 1000.0) -> int:
    order = store.new_order()
    store.save_order("https://ca.example/order/1")
    return store.complete(chain_for(order.key), obtained).number


def modes(folder: Path) -> dict[str, int]:
    found = {".": folder.stat().st_mode & 0o777}
    for path in folder.rglob("*"):
        found[path.relative_to(folder).as_posix()] = path.stat().st_mode & 0o777
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_is_for_its_owner_alone_whatever_the_umask(
    tmp_path: Path, folder: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        store = a_store(folder)
        lock = store.lock()
        assert lock.take()
        store.account()
        obtain(store)
        store.new_order()
        store.save_tries(Tries())
        lock.give_up()
    finally:
        os.umask(before)
    found = modes(tmp_path / "state")
    for name, mode in found.items():
        is_file = (tmp_path / "state" / name).is_file()
        assert mode == (0o600 if is_file else 0o700), name
    assert {name.rpartition("/")[2] for name in found} >= {
        "key.pem",
        "chain.pem",
        "room",
        "lock",
    }
    assert [*folder.glob("tries/*.json")]


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
def test_a_folder_that_exists_keeps_its_mode_and_what_is_made_in_it_is_private(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    (folder / "theirs").touch(0o644)
    store = a_store(folder)
    assert store.lock().take()
    store.account()
    obtain(store)
    store.new_order()
    store.save_tries(Tries())
    assert folder.stat().st_mode & 0o777 == 0o777
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == (0o644 if path.name == "theirs" else 0o700), path


def test_without_a_folder_there_is_nothing_and_nothing_is_made(folder: Path) -> None:
    store = Store(AcmeSettings(("relay.example",), folder))
    assert store.certificates() == []
    assert store.tries() == Tries()
    assert not folder.exists()


def test_a_certificate_is_found_with_what_it_was_ordered_for(folder: Path) -> None:
    number = obtain(a_store(folder, "b.example", "a.example"), obtained=1234.0)
    (found,) = a_store(folder).certificates()
    assert (found.number, found.obtained) == (number, 1234.0)
    assert found.wanted.names == ("a.example", "b.example")
    assert found.validity.life == pytest.approx(90 * limits.DAY)


def test_old_certificates_go_and_the_one_before_stays(folder: Path) -> None:
    store = a_store(folder)
    for _ in range(12):
        obtain(store)
    assert [each.number for each in store.certificates()] == list(range(12, 0, -1))
    store.discard_old(store.certificates()[1])
    assert [each.number for each in store.certificates()] == [12, 11, 10]


def test_old_certificates_for_something_else_stay(folder: Path) -> None:
    one, other = a_store(folder, "one.example"), a_store(folder, "other.example")
    for store in (one, other, one, one, other, one):
        obtain(store)
    one.discard_old(one.certificates()[0])
    assert [each.number for each in other.certificates()] == [6, 5, 4, 2]


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "facts.json"])
@pytest.mark.parametrize("content", [None, b"", b"damaged", b"[]", b"{}", os.urandom(5000)])
def test_a_damaged_certificate_is_as_good_as_none(folder: Path, name: str, content: bytes | None) -> None:
    store = a_store(folder)
    first = obtain(store)
    path = folder / "certificates" / str(obtain(store)) / name
    path.unlink() if content is None else path.write_bytes(content)
    assert [each.number for each in store.certificates()] == [first]
    assert obtain(store) == first + 2


def test_a_key_of_another_certificate_is_noticed(folder: Path) -> None:
    store = a_store(folder)
    first, second = obtain(store), obtain(store)
    shutil.copy(
        folder / "certificates" / str(first) / "key.pem", folder / "certificates" / str(second) / "key.pem"
    )
    assert [each.number for each in store.certificates()] == [first]


def test_a_chain_that_belongs_to_another_key_is_not_taken(folder: Path) -> None:
    store = a_store(folder)
    store.new_order()
    for chain in (chain_for(ec.generate_private_key(ec.SECP256R1())), b"", b"no chain"):
        with pytest.raises(ValueError):
            store.complete(chain, 0.0)
    assert store.certificates() == []
    assert store.order() is not None


# The account


def test_an_account_is_remembered_for_each_authority(folder: Path) -> None:
    one, other = a_store(folder), a_store(folder, directory="letsencrypt-staging")
    key = one.account().key
    one.save_account("https://ca.example/account/1", "me@example")
    again = a_store(folder).account()
    assert (again.url, again.email) == ("https://ca.example/account/1", "me@example")
    assert a_store(folder).account().key.private_numbers() == key.private_numbers()
    assert other.account().url is None
    assert other.account().key.private_numbers() != key.private_numbers()


@pytest.mark.parametrize("content", [b"", b"damaged", b"[]", b"{}"])
def test_a_damaged_account_is_registered_again(folder: Path, content: bytes) -> None:
    store = a_store(folder)
    key = store.account().key.private_numbers()
    store.save_account("https://ca.example/account/1", None)
    (facts,) = folder.glob("accounts/*/account.json")
    facts.write_bytes(content)
    assert store.account().url is None
    assert store.account().key.private_numbers() == key
    facts.with_name("key.pem").write_bytes(content)
    store.save_account("https://ca.example/account/1", None)
    assert store.account().url is None
    assert store.account().key.private_numbers() != key


# The order


def order_folders(folder: Path) -> list[Path]:
    return [path for path in (folder / "orders").iterdir() if path.is_dir()]


def test_an_order_is_remembered_if_it_is_for_what_is_wanted(folder: Path) -> None:
    key = a_store(folder).new_order().key.private_numbers()
    a_store(folder).save_order("https://ca.example/order/1")
    order = a_store(folder).order()
    assert order is not None
    assert (order.url, order.key.private_numbers()) == ("https://ca.example/order/1", key)
    for other in (a_store(folder, "other.example"), a_store(folder, directory="letsencrypt-staging")):
        assert other.order() is None
        other.new_order()
        other.save_order("https://ca.example/order/2")
    again = a_store(folder).order()
    assert again is not None
    assert again.url == "https://ca.example/order/1"  # each has its own


@pytest.mark.parametrize("name", ["key.pem", "facts.json", "room"])
def test_a_damaged_order_is_no_order(folder: Path, name: str) -> None:
    store = a_store(folder)
    store.new_order()
    (path,) = folder.glob(f"orders/*/{name}")
    path.unlink()
    assert store.order() is None
    obtain(store)


def test_what_a_dead_process_left_is_swept(folder: Path) -> None:
    store = a_store(folder)
    store.new_order()
    for path in (folder / "orders", folder / "tries", *folder.glob("accounts/*"), *order_folders(folder)):
        (path / "new-file").write_bytes(b"half")
        (path / "new-folder").mkdir()
        (path / "new-folder" / "key.pem").write_bytes(b"half")
    store.sweep()
    assert not list(folder.rglob("new-*"))
    assert store.order() is not None


def test_a_certificate_that_lacked_its_last_step_gets_it(folder: Path) -> None:
    store = a_store(folder)
    order = store.new_order()
    (running,) = order_folders(folder)
    chain = running / "chain.pem"
    chain.write_bytes(chain_for(order.key))
    store.sweep()
    assert [each.number for each in store.certificates()] == [1]
    assert not order_folders(folder)
    store.new_order()
    chain.write_bytes(b"damaged")
    store.sweep()
    assert [each.number for each in store.certificates()] == [1]
    assert not order_folders(folder)


def test_how_tries_went_is_remembered_and_damage_is_no_harm(folder: Path) -> None:
    store = a_store(folder)
    tries = Tries(1.5, 3, "'No' (unauthorized)", 2.5, 3.5)
    store.save_tries(tries)
    assert store.tries() == tries
    for content in (
        b"",
        b"[]",
        b"{}",
        b'{"last": "x", "failures": 1, "error": null, "after": 0, "not_before": 0}',
    ):
        (path,) = folder.glob("tries/*.json")
        path.write_bytes(content)
        assert store.tries() == Tries()


# The lock


def test_one_process_at_a_time_has_the_lock_and_a_dead_one_has_not(folder: Path) -> None:
    store = a_store(folder)
    hold = (
        "import sys; from pathlib import Path; from p2p_copy.acme.settings import AcmeSettings\n"
        "from p2p_copy.acme.store import Store\n"
        "lock = Store(AcmeSettings(('relay.example',), Path(sys.argv[1]))).lock()\n"
        "print(lock.take(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert not store.lock().take()
        other.kill()
    lock = store.lock()
    assert lock.take()
    assert not store.lock().take()  # not twice in one process either
    lock.give_up()


def test_a_lock_that_was_given_up_is_not_kept_by_a_thread_that_gets_it_later(folder: Path) -> None:
    store = a_store(folder)
    late = store.lock()
    late.give_up()
    assert not late.take()
    assert store.lock().take()


# Full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave not one free byte."""
    path = disk / "full"
    with path.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0
    return path


def test_a_full_disk_refuses_an_order_before_it_is_sent(small_disk: Path) -> None:
    store = a_store(small_disk / "acme")
    full = fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        store.new_order()
    full.unlink()
    assert store.order() is None
    assert not list(small_disk.rglob("new-*"))
    assert obtain(store) == 1


def test_a_disk_that_fills_up_during_an_order_costs_no_certificate(small_disk: Path) -> None:
    store = a_store(small_disk / "acme")
    order = store.new_order()
    store.save_order("https://ca.example/order/1")
    fill(small_disk)
    chain = chain_for(order.key) * 20
    assert store.complete(chain, 5.0).chain_file.read_bytes() == chain
    assert [each.number for each in store.certificates()] == [1]
