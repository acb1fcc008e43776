"""Files of the cache that are not what was written; `just faults cache` damages a thousand."""

from __future__ import annotations

from faults import cache


def test_a_damaged_cache_changes_nothing_that_is_read(tmp_path):
    """A flipped bit, an emptied, cut or exchanged file of any kind gives the same pixels, tensors and hashes."""
    with cache.filled_cache(tmp_path) as (folder, files):
        assert set(files) == {"captions", "hashes", "latents", "pictures"}
        ends = cache.damaged(folder, files, 8)
    assert not [end for end in ends if end[1] == "lost"]
