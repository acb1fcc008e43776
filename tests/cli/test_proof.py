"""Verifying from the command line."""

from __future__ import annotations

import json


def test_verify_has_an_exit_code(fluxkit, run_folder):
    """A result that holds is verified; one that was changed ends with exit code 5 and the number's name."""
    code, out, _ = fluxkit("verify", run_folder)
    assert code == 0
    assert out.endswith("verified\n")
    text = (run_folder / "result.json").read_text()
    (run_folder / "result.json").write_text(text.replace('"psnr_db_untuned": 10.0', '"psnr_db_untuned": 1.0'))
    code, out, _ = fluxkit("verify", run_folder)
    assert code == 5
    assert "summary.psnr_db_untuned is 1.0" in out
    code, out, _ = fluxkit("verify", run_folder, "--json")
    assert code == 5
    assert len(json.loads(out)[str(run_folder / "result.json")]) == 2
