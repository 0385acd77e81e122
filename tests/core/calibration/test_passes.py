from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foad_plugins.calibration.observers import ChannelSet
from foad_plugins.calibration.passes import check_max_memory, memory_in_bytes, split_into_passes
from foad_plugins.criterion.kernels.packed import packed_size

CPU = torch.device("cpu")


@given(widths=st.lists(st.integers(1, 300), max_size=12), max_bytes=st.integers(1, 10**6))
def test_passes_keep_the_order_and_the_limit(widths, max_bytes):
    sets = [ChannelSet(str(number), width, ()) for number, width in enumerate(widths)]
    passes = split_into_passes(sets, max_bytes)
    assert [one for some in passes for one in some] == sets
    for some in passes:
        assert len(some) == 1 or sum(8 * packed_size(one.num_channels) for one in some) <= max_bytes


def test_a_share_of_the_memory():
    assert memory_in_bytes(1000, CPU) == 1000
    assert memory_in_bytes(0.5, CPU) == pytest.approx(memory_in_bytes(1.0, CPU) / 2, abs=1)
    assert memory_in_bytes(1.0, CPU) > 2**28


@pytest.mark.parametrize(
    ("value", "error"),
    [("1G", TypeError), (True, TypeError), (0, ValueError), (-1, ValueError), (0.0, ValueError), (1.5, ValueError)],
)
def test_wrong_limits_are_refused(value, error):
    with pytest.raises(error, match=r"max_memory must be .*got"):
        check_max_memory(value)


@pytest.mark.parametrize("value", [None, 1, 10**9, 0.5, 1.0])
def test_right_limits(value):
    assert check_max_memory(value) == value
