"""A study with pictures and its page, for all tests of the report."""

import builders
import pytest
from pages import written


@pytest.fixture(scope="session")
def study_page(tmp_path_factory):
    """A folder with a study and its pictures, and the text of its page."""
    folder = tmp_path_factory.mktemp("study")
    for result in builders.study():
        builders.run_folder(folder / result.id, result)
    return folder, written(folder, folder.parent / "page.html")
