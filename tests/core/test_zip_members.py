"""Members of a zip read by their place: what Python's zipfile reads, and nothing that it would refuse."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradebot_core.collectors import zip_members

CONTENTS = {
    "CIK0000000001.json": b'{"cik":1}' * 50,
    "sub/CIK0000000002.json": b"",
    "CIK0000000003.json": bytes(range(256)) * 300,
}


@pytest.fixture(scope="module", params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def archive(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "some.zip"
    with zipfile.ZipFile(path, "w", request.param) as bundle:
        for name, content in CONTENTS.items():
            bundle.writestr(name, content)
    return path


def contents(path: Path) -> dict[str, bytes]:
    found = zip_members.directory(path, lambda name: True)
    return {name: zip_members.read(path, member) for name, member in found.items()}


def test_every_member_is_read_by_its_name_without_folders(archive):
    assert contents(archive) == {name.rpartition("/")[2]: content for name, content in CONTENTS.items()}
    assert list(zip_members.directory(archive, lambda name: name.endswith("3.json"))) == ["CIK0000000003.json"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_never_changes_a_content(archive, tmp_path, data):
    whole = bytearray(archive.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(whole)
    try:
        found = zip_members.directory(damaged, lambda name: True)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return
    for member in found.values():
        try:
            content = zip_members.read(damaged, member)
        except (zipfile.BadZipFile, OSError):
            continue
        assert content in CONTENTS.values()


@pytest.mark.parametrize(
    "wrong",
    [{"size": 10}, {"size": 10**9}, {"crc": 1}, {"flags": 1}, {"name": b"other.json"}, {"at": 5}, {"end": 40}, {"method": 14}],
)
def test_a_member_that_is_not_what_the_directory_says_is_refused(archive, wrong):
    member = zip_members.directory(archive, lambda name: True)["CIK0000000003.json"]
    with pytest.raises(zipfile.BadZipFile):
        zip_members.read(archive, replace(member, **wrong))
