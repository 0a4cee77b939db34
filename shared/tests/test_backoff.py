"""The delay before a retry: it doubles, it is jittered, and it has a limit."""

import pytest

from chassis.resilience import retry_delay_seconds


@pytest.mark.parametrize(
    ("tries", "whole"),
    [(0, 0.5), (1, 1), (2, 2), (6, 32), (7, 60), (8, 60), (10_000, 60)],
)
def test_a_delay_is_between_half_and_all_of_one_that_doubles(tries: int, whole: float) -> None:
    delays = [retry_delay_seconds(tries, first_seconds=0.5, most_seconds=60) for _ in range(200)]
    assert whole / 2 <= min(delays) < max(delays) <= whole
    assert max(delays) - min(delays) > whole / 4  # 200 draws from half of it: no two clients retry in step
