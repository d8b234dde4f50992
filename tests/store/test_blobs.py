import pytest

from tribute.records import Unknown, Unreadable, sha256
from tribute.store import blobs as module
from tribute.store.blobs import DiskBlobs, MemoryBlobs


@pytest.fixture(params=["disk", "memory"])
def blobs(request, tmp_path):
    return DiskBlobs(tmp_path) if request.param == "disk" else MemoryBlobs()


def test_what_is_put_is_got(blobs):
    digest = blobs.put(b"picture")
    assert digest == sha256(b"picture") == blobs.put(b"picture")
    assert blobs.get(digest) == b"picture"
    blobs.delete(digest)
    blobs.delete(digest)
    with pytest.raises(Unknown):
        blobs.get(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "z" * 64, "A" * 64])
def test_a_name_that_is_no_hash_is_never_a_path(blobs, digest):
    with pytest.raises(Unknown):
        blobs.get(digest)


def test_changed_bytes_are_noticed(tmp_path):
    blobs = DiskBlobs(tmp_path)
    digest = blobs.put(b"picture")
    blobs.path(digest).write_bytes(b"another")
    with pytest.raises(Unreadable, match="no longer matches"):
        blobs.get(digest)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        DiskBlobs(tmp_path).put(b"picture")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
