"""Calibration data of any form as shuffled training batches, with some images left out to measure on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from ...calibration.data import Call, check_data, is_iterator, iter_calls
from .random_state import seed_of

__all__ = ["TrainingData", "training_data"]

_LEFT_OUT = 256
"""Images left out at most: enough for a difference of a few percent in the loss."""


class TrainingData(ABC):
    """Batches of training images, whose order is decided by a seed, and batches that are left out.

    Attributes:
        images: number of training images; None where it is not known.
        per_epoch: number of batches in an epoch.
        left_out: calls on the images that are left out.
    """

    images: int | None
    per_epoch: int
    left_out: list[Call]

    @abstractmethod
    def epoch(self, random: torch.Generator, skip: int) -> Iterator[Call]:
        """The batches of one epoch in the order that ``random`` draws, without the first ``skip``."""

    def batches(self, seed: int, start: int) -> Iterator[Call]:
        """Training batches without end, from batch number ``start`` of the training on."""
        epoch, skip = divmod(start, self.per_epoch)
        while True:
            yield from self.epoch(torch.Generator().manual_seed(seed_of(seed, epoch)), skip)
            epoch, skip = epoch + 1, 0


def training_data(
    data: Any, *, batch_size: int, device: torch.device | None, left_out: int | None, whole_batches: bool
) -> TrainingData:
    """Prepare calibration data for training.

    Tensors, and batches in a list or from a generator that fit together, are one pool of images. Of a ``DataLoader``
    over all of a dataset the dataset is read, in an order and in batches of our own. Other iterables keep their
    batches.

    Args:
        data: as for :func:`~foad_plugins.calibration.data.iter_calls`.
        batch_size: images in a batch, at most, where the batches are ours.
        device: where the batches go.
        left_out: number of images to leave out; None for a tenth, at most 256. Where batches are kept, as many batches
            as this takes.
        whole_batches: batches are passed on as the data gives them, for a ``forward_fn``.

    Raises:
        TypeError: data of another form.
        ValueError: no image, one image, or no more images than are left out.
    """
    check_data(data)
    if isinstance(data, DataLoader) and (places := _places(data)) is not None:
        count = _count_left_out(len(places), left_out)
        return _Dataset(data, *_split(places, count), batch_size, device)
    if not isinstance(data, (Tensor, tuple, Mapping, list)) and not is_iterator(data):
        return _Stream(data, device, _LEFT_OUT if left_out is None else left_out)
    items = data if isinstance(data, (Tensor, tuple, Mapping)) else list(data)
    calls = list(iter_calls(items))
    mixed = isinstance(items, list) and whole_batches and not all(isinstance(item, Tensor) for item in items)
    if not mixed and _fit_together(calls):
        return _Pool(items, calls, batch_size, device, left_out)
    if len(calls) < 2:
        raise ValueError(
            "data: one batch that cannot be divided by images (its tensors are not of one length) leaves nothing to "
            "measure on: give several batches"
        )
    return _Batches(list(items), device, _LEFT_OUT if left_out is None else left_out)


class _Pool(TrainingData):
    """Images in memory."""

    def __init__(
        self, items: Any, calls: Sequence[Call], batch_size: int, device: torch.device | None, left_out: int | None
    ) -> None:
        width = len(calls[0].args)
        self._args = [torch.cat([call.args[place] for call in calls]) for place in range(width)]
        self._kwargs = {name: torch.cat([call.kwargs[name] for call in calls]) for name in calls[0].kwargs}
        self._whole = isinstance(items, (tuple, Mapping))
        total = len((*self._args, *self._kwargs.values())[0])
        self._device, self._size = device, batch_size
        self._places, measured = _split(range(total), _count_left_out(total, left_out))
        self.images, self.per_epoch = len(self._places), _number_of_batches(len(self._places), batch_size)
        self.left_out = [self._call(torch.tensor(part)) for part in _chunks(measured, batch_size)]

    def epoch(self, random: torch.Generator, skip: int) -> Iterator[Call]:
        for part in islice(_shuffled(self._places, self._size, random), skip, None):
            yield self._call(torch.tensor(part))

    def _call(self, places: Tensor) -> Call:
        args = tuple(tensor[places.to(tensor.device)] for tensor in self._args)
        kwargs = {name: tensor[places.to(tensor.device)] for name, tensor in self._kwargs.items()}
        if self._whole:
            return next(iter_calls(kwargs or args, self._device))
        # Of a tuple in a list, the first element is the input.
        return next(iter_calls([kwargs or ((args,) if len(args) > 1 else args[0])], self._device))


class _Dataset(TrainingData):
    """Images that the dataset of a ``DataLoader`` gives one by one."""

    def __init__(
        self,
        loader: DataLoader[Any],
        places: Sequence[int],
        left_out: Sequence[int],
        batch_size: int,
        device: torch.device | None,
    ) -> None:
        self._loader, self._places, self._size, self._device = loader, places, batch_size, device
        self.images, self.per_epoch = len(places), _number_of_batches(len(places), batch_size)
        self.left_out = list(self._calls(_chunks(left_out, batch_size)))

    def epoch(self, random: torch.Generator, skip: int) -> Iterator[Call]:
        return self._calls(list(_shuffled(self._places, self._size, random))[skip:])

    def _calls(self, parts: Sequence[Sequence[int]]) -> Iterator[Call]:
        loader = self._loader
        batches: DataLoader[Any] = DataLoader(
            loader.dataset,
            batch_sampler=[list(part) for part in parts],
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
        )
        return iter_calls(batches, self._device) if parts else iter(())


class _Batches(TrainingData):
    """A list of batches that are not of one form."""

    def __init__(self, items: Sequence[Any], device: torch.device | None, left_out: int) -> None:
        self._items, self._device = items, device
        count = 0
        while count < len(items) - 1 and count * 10 < len(items) and left_out > 0:
            left_out -= _images(next(iter_calls([items[count]])))
            count += 1
        self._places, measured = _split(range(len(items)), max(count, 1))
        self.images = sum(_images(next(iter_calls([items[place]]))) for place in self._places)
        self.per_epoch = len(self._places)
        self.left_out = [next(iter_calls([items[place]], device)) for place in measured]

    def epoch(self, random: torch.Generator, skip: int) -> Iterator[Call]:
        for (place,) in islice(_shuffled(self._places, 1, random), skip, None):
            yield next(iter_calls([self._items[place]], self._device))


class _Stream(TrainingData):
    """Any other iterable: its first batches are left out, the others are used in the order in which they come."""

    def __init__(self, data: Iterable[Any], device: torch.device | None, left_out: int) -> None:
        self._data, self._device = data, device
        total = len(data) if isinstance(data, Sized) else sum(1 for _ in data)
        self.left_out, images = [], 0
        for call in iter_calls(data, device, max(1, total // 10)):
            self.left_out.append(call)
            images += _images(call)
            if images >= left_out:
                break
        self.per_epoch = total - len(self.left_out)
        if self.per_epoch < 1:
            raise ValueError("data: one batch leaves nothing to measure on: give several batches")
        self.images = self.per_epoch * images // len(self.left_out)

    def epoch(self, random: torch.Generator, skip: int) -> Iterator[Call]:
        # A loader that shuffles draws from the global generators.
        torch.manual_seed(random.initial_seed())
        calls = islice(iter_calls(self._data, self._device), len(self.left_out) + skip, None)
        first = next(calls, None)
        if first is None and skip == 0:
            raise ValueError("data: it gave fewer batches in a later epoch than in the first: give data to read again")
        if first is not None:
            yield first
            yield from calls


def _places(loader: DataLoader[Any]) -> Sequence[int] | None:
    """The indices that a loader reads in an epoch, if it reads each once; None if it has a sampler of its own."""
    if isinstance(loader.dataset, IterableDataset):
        return None
    if isinstance(loader.batch_sampler, list):
        return [place for batch in loader.batch_sampler for place in batch]
    sampler = loader.sampler
    plain = type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement)
    return range(len(loader.dataset)) if plain and loader.batch_size is not None else None  # type: ignore[arg-type]


def _fit_together(calls: Sequence[Call]) -> bool:
    """Whether the batches can be divided into images and mixed."""
    forms = set()
    for call in calls:
        tensors = [*call.args, *call.kwargs.values()]
        if not tensors or not all(isinstance(tensor, Tensor) and len(tensor) == len(tensors[0]) for tensor in tensors):
            return False
        shapes = tuple((tensor.shape[1:], tensor.dtype, tensor.device) for tensor in tensors)
        forms.add((len(call.args), tuple(call.kwargs), shapes))
    return len(forms) == 1


def _count_left_out(total: int, wanted: int | None) -> int:
    if total < 2:
        raise ValueError(f"data: at least 2 images are needed, one to train on and one to measure on; got {total}")
    count = min(_LEFT_OUT, max(1, total // 10)) if wanted is None else wanted
    if count >= total:
        raise ValueError(f"left_out: must be below the {total} images of the data, got {count}")
    return count


def _split(places: Sequence[int], count: int) -> tuple[list[int], list[int]]:
    """All places but ``count`` ones at even distances, and these."""
    measured = {number * len(places) // count for number in range(count)}
    return (
        [place for number, place in enumerate(places) if number not in measured],
        [place for number, place in enumerate(places) if number in measured],
    )


def _shuffled(places: Sequence[int], size: int, random: torch.Generator) -> Iterator[list[int]]:
    order = [places[number] for number in torch.randperm(len(places), generator=random).tolist()]
    return islice(_chunks(order, size), _number_of_batches(len(places), size))


def _chunks(places: Sequence[int], size: int) -> list[list[int]]:
    return [list(places[start : start + size]) for start in range(0, len(places), size)]


def _number_of_batches(images: int, size: int) -> int:
    """Without a last batch of less than half the size, whose gradient would count as much as that of a full one."""
    return max(1, (images + (size - 1) // 2) // size)


def _images(call: Call) -> int:
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor) and value.dim()]
    return len(tensors[0]) if tensors else 1
