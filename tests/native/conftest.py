import pytest

from coppice.core.errors import CoppiceError
from coppice.native.toolchain import compiler


@pytest.fixture(scope="session", autouse=True)
def needs_a_compiler():
    try:
        compiler()
    except CoppiceError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Libraries of the tests stay among their files."""
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path))
