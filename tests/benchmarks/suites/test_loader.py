from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from foad_plugins.benchmarks.suites.loader import SuiteFileError, find_suite, read_suite, suite_names

TEXT = """\
# A comment.
name: mine
description: for tests
conditions:
  dataset: {name: digits}
  model:
    name: digits-vgg
    settings:
      widths: [4, 6, 8]
  base_recipe: {epochs: 2, learning_rate: 5e-2}
  finetune_recipe:
    epochs: 1
    learning_rate: 0.02
    warmup_epochs: 0
  tolerance: 0.1
targets:
  - flops_reduction: 0.4
  - operating_point:
      neighbors: 1
criteria:
  - name: foad
    rule: {neighbors: 1}
    label: paper
  - {name: foad, settings: {order: backward}}
  - name: l1
seeds: 2
reference: l1
"""


def complaint(text: str) -> str:
    with pytest.raises(SuiteFileError) as caught:
        read_suite(text, "mine.yaml")
    return str(caught.value)


def test_a_users_file_is_read_by_its_path(tmp_path: Path) -> None:
    for name in ("mine.yaml", "other.yml"):
        path = tmp_path / name
        path.write_text(TEXT)
        suite = find_suite(str(path))
        assert suite == read_suite(TEXT, "mine.yaml")
    assert suite.name == "mine"
    assert suite.conditions.base_recipe is not None
    assert suite.conditions.base_recipe.learning_rate == 0.05
    assert suite.criteria[1].settings == {"neighbors": 1, "threshold": 0.0, "order": "backward"}
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert find_suite(str(path)) == suite


@pytest.mark.parametrize("name", suite_names())
def test_the_suites_of_the_package_can_be_used(name: str) -> None:
    suite = find_suite(name)
    assert suite.name == name
    assert suite.seeds >= 3
    assert "\n" not in suite.description
    assert type(suite).model_validate(dict(suite.smoke())) == suite.smoke()


def test_the_quickstart_compares_five_criteria_within_two_percent() -> None:
    suite = find_suite("quickstart")
    assert {entry.name for entry in suite.criteria} == {"foad", "l1", "hrank", "fpgm", "random"}
    assert suite.conditions.tolerance == 0.02


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("seeds: 2", "sedes: 2", ["26: sedes: unknown key; did you mean 'seeds'?"]),
        ("  tolerance: 0.1", "  tolerances: 1", ["15: conditions.tolerances: unknown key; did you mean 'tolerance'?"]),
        ("    epochs: 1", "    zzz: 1", ["11: conditions.finetune_recipe.epochs: is needed and not given",
                                         "12: conditions.finetune_recipe.zzz: unknown key; known: epochs, learning"]),
        ("rule: {neighbors: 1}", "rule: {neighbor: 1}",
         ["22: criteria.0.rule.neighbor: unknown key; did you mean 'neighbors'?"]),
        ("seeds: 2", "seeds: some", ["26: seeds: must be a whole number, got 'some'"]),
        ("seeds: 2", "seeds: [2]", ["26: seeds: must be a whole number"]),
        ("seeds: 2", "seeds:", ["26: seeds: must be a whole number, got None"]),
        ("    epochs: 1", "    epochs: -1", ["12: conditions.finetune_recipe.epochs: .* greater than or equal to 0"]),
        ("{name: digits}", "digits", ["5: conditions.dataset: must be a mapping of keys and values, got"]),
        ("  - flops_reduction: 0.4\n  - operating_point:\n      neighbors: 1", "  flops_reduction: 0.4",
         ["16: targets: must be a list"]),
        ("flops_reduction: 0.4", "flops_reduction: 1.5",
         ["17: targets.0.flops_reduction: must be less than 1, got 1.5"]),
        ("flops_reduction: 0.4", "flops_reduction: .nan", ["17: targets.0.flops_reduction: .* less than 1, got nan"]),
        ("      neighbors: 1\n", "      neighbors: 1\n    params_reduction: 0.5\n",
         ["18: targets.1.operating_point: cannot be combined with"]),
        ("      neighbors: 1\n", "      neighbors: 2\n", ["22: criteria.0.rule: 'paper' stops by its own rule"]),
        ("  - flops_reduction: 0.4", "  - {}", ["17: targets.0: must give the size a comparison prunes to"]),
        ("{name: digits}", "{name: digts}", ["5: conditions.dataset.name: unknown dataset 'digts'; did you mean 'dig"]),
        ("name: digits-vgg", "name: vgg", ["7: conditions.model.name: unknown model 'vgg'"]),
        ("name: digits-vgg", "name: no.py:net", ["7: conditions.model.name: model 'no.py:net': there is no file"]),
        ("widths: [4", "width: [4", ["8: conditions.model.settings: model 'digits-vgg': .* accepts: widths, classes"]),
        ("name: l1", "name: l-1", ["25: criteria.2.name: unknown criterion 'l-1'; did you mean 'l1'"]),
        ("{order: back", "{oder: back", ["24: criteria.1.settings: criterion 'foad': .* accepts: neighbors, thresh"]),
        ("- name: l1", "- name: l1\n    rule:\n      neighbors: 1", ["26: criteria.2.rule: only foad has one"]),
        ("    label: paper", "    label: foad", ["24: criteria.1.label: two criteria have the title 'foad'"]),
        ("reference: l1", "reference: l2", [r"27: reference: 'l2' is not one of the criteria \(paper, foad, l1\)"]),
        ("    warmup_epochs: 0", "    warmup_epochs: 3",
         ["14: conditions.finetune_recipe.warmup_epochs: must be fewer than the 1 epochs, got 3"]),
        ("  tolerance: 0.1", "  base_weights: x.safetensors", ["15: conditions.base_weights: cannot be combined with"]),
        ("  base_recipe: {epochs: 2, learning_rate: 5e-2}\n", "  base_weights: x.safetensors\n  base_seed: 0\n",
         ["11: conditions.base_seed: cannot be combined with base_weights"]),
        ("  base_recipe: {epochs: 2, learning_rate: 5e-2}\n", "", ["4: conditions: give either base_recipe"]),
        ("seeds: 2", "3: 4", ["26: 3: Keys should be strings"]),
        ("seeds: 2", "kind: ablation", ["17: targets.0: must be empty for an ablation", "18: targets.1: must be empty",
                                        "24: criteria.1: 'foad' has no rule", "25: criteria.2: 'l1' has no rule"]),
    ],
)  # fmt: skip
def test_errors_are_reported_with_their_lines(old: str, new: str, lines: list[str]) -> None:
    assert old in TEXT
    found = complaint(TEXT.replace(old, new, 1)).split("\n")
    assert len(found) == len(lines)
    for message, expected in zip(found, lines, strict=True):
        assert re.match(rf"mine\.yaml:{expected}", message), message


def test_a_key_must_not_be_listed_twice() -> None:
    assert complaint(TEXT + "seeds: 3\n") == "mine.yaml:28: the key 'seeds' is listed twice"
    nested = TEXT.replace("    label: paper", "    label: paper\n    name: l1")
    assert complaint(nested) == "mine.yaml:24: the key 'name' is listed twice"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml:1: a suite is a mapping"),
        ("# nothing\n", "mine.yaml:1: a suite is a mapping"),
        ("- name: mine\n", "mine.yaml:1: a suite is a mapping"),
        ("mine", "mine.yaml:1: a suite is a mapping"),
        ("name: a: b\n", "mine.yaml:1: no valid YAML, mapping values are not allowed here"),
        ("name: mine\nseeds: [1\n", "mine.yaml:3: no valid YAML, expected"),
        ("name: mine\n\nseeds: \x00\n", "mine.yaml:3: no valid YAML, special characters are not allowed"),
        ("name: mine\nseeds: !!python/name:os.system\n", "mine.yaml:2: no valid YAML, could not determine"),
        ("name: mine\n---\nname: other\n", "mine.yaml:2: no valid YAML, but found another document"),
        ("? [a, b]\n: 3\n", "mine.yaml:1: no valid YAML, found unhashable key"),
        ("name: 2024-99-99\n", "mine.yaml: no valid YAML, month must be in 1..12"),
        ("[" * 30_000, "mine.yaml:1: no valid YAML, nested more than 32 levels deep"),
        ("a" * 300_000, "mine.yaml: no valid YAML, more than 32768 characters"),
    ],
)
def test_texts_that_are_no_suite(text: str, message: str) -> None:
    assert complaint(text).startswith(message)


def test_aliases_that_contain_themselves_or_expand_without_end_are_refused_at_once() -> None:
    assert (
        complaint(TEXT.replace("seeds: 2", "seeds: &a [*a]")) == "mine.yaml:26: no valid YAML, an alias contains itself"
    )
    lists = [f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 9)}]" for level in range(1, 30)]
    merges = [f"x{level}: &x{level}\n  <<: [{', '.join([f'*x{level - 1}'] * 9)}]" for level in range(1, 30)]
    for first, bombs in (("x0: &x0 [1]", lists), ("x0: &x0 {a: 1}", merges)):
        start = time.perf_counter()
        assert "more than 10000 values" in complaint("\n".join([TEXT, first, *bombs]))
        assert time.perf_counter() - start < 1


def test_suites_of_absurd_size_are_refused_at_once_and_in_few_words() -> None:
    many = "\n".join(f"  - {{name: l1, label: c{number}}}" for number in range(201))
    targets = ", ".join(f"{{flops_reduction: 0.{number}}}" for number in range(1, 500))
    for text, message in (
        (TEXT.replace("seeds: 2", "seeds: 1000000000"), "seeds: must be less than or equal to 100000"),
        (TEXT.replace("seeds: 2", "seeds: 90000"), "seeds: gives 540000 runs, the limit is 100000"),
        (
            f"{TEXT}{many}\n".replace("reference: l1\n", "", 1).replace("seeds: 2\n", "", 1),
            "200 items or fewer",
        ),
        (TEXT.replace("seeds: 2", f"seeds: 2\nrankings: [{targets}]"), "more errors"),
        (TEXT + "\n".join(f"k{number}: 1" for number in range(2499)), "unknown key"),
        (TEXT.replace("seeds: 2", f"seeds: {'x' * 30000}"), "seeds: must be a whole number"),
    ):
        start = time.perf_counter()
        found = complaint(text)
        assert message in found
        assert len(found) < 7000
        assert time.perf_counter() - start < 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(SuiteFileError, match=r"mine\.yaml: cannot be read \(No such file or directory\)"):
        find_suite(str(path))
    path.write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(SuiteFileError, match=r"cannot be read \(it is not UTF-8 text\)"):
        find_suite(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(SuiteFileError, match=r"cannot be read \(not a regular file\)"):
        find_suite(str(path))


def test_a_name_that_no_suite_has() -> None:
    with pytest.raises(SuiteFileError, match=r"unknown suite 'quikstart'; did you mean 'quickstart'\? \(known: .*yaml"):
        find_suite("quikstart")
    with pytest.raises(SuiteFileError, match="unknown suite '../quickstart'"):
        find_suite("../quickstart")
