from __future__ import annotations

import torch

from foad_plugins.calibration.saved_values import SavedValues


def test_changed_tensors_get_their_values_back_and_others_are_not_written():
    tensors = [
        torch.rand(3, 2),
        torch.tensor([1.0, float("nan")]),
        torch.arange(4),
        torch.tensor(5),
        torch.rand(2).half(),
    ]
    before = [tensor.clone() for tensor in tensors]
    saved = SavedValues(tensors)
    tensors[0].add_(1)
    tensors[3].add_(1)
    versions = [tensor._version for tensor in tensors]
    saved.restore()
    for tensor, expected in zip(tensors, before, strict=True):
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0, equal_nan=True)
    changed = [after._version > version for after, version in zip(tensors, versions, strict=True)]
    assert changed == [True, False, False, True, False]


def test_another_shape_is_undone():
    tensors = [torch.rand(4), torch.rand(2)]
    expected = tensors[1].clone()
    saved = SavedValues(tensors)
    tensors[1].resize_(5).fill_(1)
    saved.restore()
    assert torch.equal(tensors[1], expected)


def test_no_tensors():
    SavedValues([]).restore()
