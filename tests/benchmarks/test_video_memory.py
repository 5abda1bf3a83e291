"""The benchmark of video recordings measures what it claims."""

from __future__ import annotations

import pytest

from benchmarks.video_memory import main, measure, record


def test_a_running_mean_does_not_grow_with_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = record(1)[0], record(2)[0]
    assert one.nbytes == two.nbytes and one.averaged == "share" and one.frame_counts == (1, *[4] * 12)
    found = measure(1)
    assert found["recording"] == one.nbytes / 2**20 <= 64
    assert found["file"] == pytest.approx(found["recording"], rel=0.01)
    assert main(["--steps", "2", "--check"]) == 0
    assert "met: running mean at most 64 MiB" in capsys.readouterr().out
