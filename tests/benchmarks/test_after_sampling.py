"""The benchmark of what follows sampling measures what it claims, here at small sizes."""

from __future__ import annotations

import pytest

from benchmarks import after_sampling


def test_every_claim_gets_a_ratio_and_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    monkeypatch.setattr(after_sampling, "SIDE", 64)
    monkeypatch.setattr(after_sampling, "memory_ratio", float)  # 0, without a process of its own
    sizes = {"count": 2, "otsu_side": 128, "frames": 3}
    monkeypatch.setattr(after_sampling, "measure", lambda count, measure=after_sampling.measure: measure(**sizes))
    assert after_sampling.main(["--pairs", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(f": {claim}: " in printed for claim in after_sampling.CLAIMS)
