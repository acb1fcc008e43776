"""`fluxkit.record.identity`: which results are one run."""

from __future__ import annotations

import builders
import pytest

from fluxkit.record.run_folder import find_results, write_result


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_of_several_copies_the_completed_one_is_read(tmp_path, order):
    """A copy that was made while the run went on does not hide what became of it."""
    statuses = dict(zip(order, ("started", "completed", "interrupted"), strict=True))
    for place, status in statuses.items():
        write_result(tmp_path / place, builders.result().model_copy(update={"status": status}))
    ((file, result),) = find_results([tmp_path])
    assert result.status == statuses[file.parent.name] == "completed"
