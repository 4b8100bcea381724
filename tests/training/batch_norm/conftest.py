import pytest

from coppice.core.errors import CoppiceError
from coppice.native.toolchain import compiler


@pytest.fixture(scope="session")
def needs_a_compiler():
    try:
        compiler()
    except CoppiceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Libraries of the tests stay among their files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
