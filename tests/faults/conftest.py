"""Stories are told in memory where the machine has a file system there: a kill takes nothing from a disk that was written."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.story import IN_MEMORY


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)
