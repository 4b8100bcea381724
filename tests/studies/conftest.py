import pytest

from coppice.reports import study_page


@pytest.fixture(scope="module", autouse=True)
def one_pdf():
    """Draw one chart of a study's page as PDF: the others take longer than the studies here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_page, "MOST_PDF", 1)
        yield
