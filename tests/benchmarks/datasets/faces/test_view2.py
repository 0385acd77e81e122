from __future__ import annotations

from pathlib import Path

import pytest

from foad_plugins.benchmarks.datasets.faces.view2 import Pair, PairsError, read_pairs
from tests.conftest import data_file
from tests.helpers.faces_folder import PAIRED, PAIRS


def written(folder: Path, text: str) -> Path:
    path = folder / "pairs.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_pairs_in_order_whatever_ends_a_line(tmp_path: Path, end: str) -> None:
    view = read_pairs(written(tmp_path, PAIRS.replace("\n", end) + end))
    assert view.folds == 2
    assert view.pairs[0] == Pair("Ann/Ann_0001", "Ann/Ann_0002", same=True, fold=0)
    assert view.pairs[3] == Pair("Ann/Ann_0002", "Cy/Cy_0001", same=False, fold=0)
    assert [pair.fold for pair in view.pairs] == [0] * 4 + [1] * 4
    assert [pair.same for pair in view.pairs] == [True, True, False, False] * 2
    assert {name.partition("/")[2] for name in view.images} == PAIRED
    assert view.people == {"Ann", "Bo", "Cy", "Di", "Ed"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("2\t2\n", ""), "1: expected the number of folds"),
        (("2\t2", "1\t2"), "1: at least 2 folds"),
        (("2\t2", "2\t3"), "12 lines after the first, it has 8"),
        (("Di\t2\tEd\t1\n", ""), "8 lines after the first, it has 7"),
        (("Bo\t1\t2", "Bo\t1\tBo\t2"), "3: expected NAME NUMBER NUMBER, got 'Bo 1 Bo 2'"),
        (("Bo\t1\t2", "Bo\tone\t2"), "3: expected NAME NUMBER NUMBER"),
        (("Bo\t1\t2", "Bo\t2\t2"), "3: a pair of a photograph with itself"),
        (("Ann\t1\tBo\t1", "Ann\t1\tAnn\t2"), "4: a pair of different people has Ann twice"),
    ],
)
def test_a_file_that_is_not_as_it_should_be(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(PairsError, match=message):
        read_pairs(written(tmp_path, PAIRS.replace(*change, 1)))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PairsError, match="not UTF-8 text"):
        read_pairs(path)
    path.write_bytes(b"")
    with pytest.raises(PairsError, match=r"pairs\.txt:1"):
        read_pairs(path)


def test_photographs_that_are_not_there(tmp_path: Path) -> None:
    view = read_pairs(written(tmp_path, PAIRS))
    view.check([*view.images, "Ann/Ann_0003"], "pairs.txt")
    without = [name for name in view.images if not name.startswith("Bo/")]
    with pytest.raises(PairsError, match=r"names Bo/Bo_0001\.jpg and 1 more .* there is no person Bo"):
        view.check(without, "pairs.txt")
    with pytest.raises(PairsError, match=r"names Bo/Bo_0002\.jpg, which the images lack: there are 1 of Bo$"):
        view.check([*without, "Bo/Bo_0001"], "pairs.txt")


def test_fewer_pairs_of_each_kind(tmp_path: Path) -> None:
    view = read_pairs(written(tmp_path, PAIRS))
    assert view.limited(1).pairs == tuple(view.pairs[number] for number in (0, 2, 4, 6))
    assert view.limited(5) == view
    with pytest.raises(ValueError, match="limit_pairs"):
        view.limited(0)


def test_the_real_view() -> None:
    view = read_pairs(data_file("data/lfw_pairs.txt"))
    assert (view.folds, len(view.pairs), len(view.images)) == (10, 6000, 7701)
