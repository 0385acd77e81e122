"""YAML of bounded size: no aliases that expand without end, no deep nesting, no key twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from ..errors import SettingsError

MOST_BYTES = 2**15
_DEEPEST = 32
_MOST_NODES = 10_000
"""With every alias expanded."""


class SuiteFileError(SettingsError):
    """A suite's file that cannot be used; the message names file and line."""


class _Loader(yaml.SafeLoader):
    """Composes and constructs in one pass over the text, as deep as is allowed."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Called for each value of a list or mapping, inside the call for the list or mapping."""
        if self._depth > _DEEPEST:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"nested more than {_DEEPEST} levels deep", problem_mark=mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """The root, checked for the number of values."""
        root: yaml.Node | None = super().get_single_node()
        if root is not None:
            _expanded_size(root, {})
        return root


def parse_yaml(text: str, source: str) -> tuple[yaml.MappingNode, dict[str, Any]]:
    """The nodes and the content of a YAML mapping.

    Args:
        text: the file's content.
        source: what errors call the file.

    Raises:
        SuiteFileError: if it is no YAML, no mapping, too large, or contains a key twice.
    """
    try:
        loader = _loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise SuiteFileError(f"{source}:1: a suite is a mapping of keys and values, such as 'name: my-suite'")
        # Before the construction, which changes the nodes where it merges mappings.
        repeated = [f"{source}:{line}: the key {key!r} is listed twice" for key, line in _repeated_keys(root)]
        if repeated:
            raise SuiteFileError("\n".join(repeated[:20])[:2000])
        content = loader.construct_document(root)
    except SuiteFileError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise SuiteFileError(f"{place}: no valid YAML, {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SuiteFileError(f"{source}:{line}: no valid YAML, {error.reason}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SuiteFileError(f"{source}: no valid YAML, {error}") from None
    return root, content


def parse_value(text: str) -> Any:
    """What a YAML text of bounded size means.

    Raises:
        YAMLError: if it is no YAML, or too large.
        ValueError: if it contains an impossible date.
    """
    return _loader(text).get_single_data()


def _loader(text: str) -> _Loader:
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"more than {MOST_BYTES} characters")
    return _Loader(text)


def _expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Number of nodes once every alias is replaced by what it stands for; bounded, and 0 in ``sizes`` while unknown."""
    if id(node) in sizes and not sizes[id(node)]:
        raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
    if id(node) not in sizes:
        sizes[id(node)] = 0
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            inner = [each for pair in inner for each in pair]
        size = 1 + sum(_expanded_size(each, sizes) for each in inner)
        if size > _MOST_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {_MOST_NODES} values", problem_mark=node.start_mark)
        sizes[id(node)] = size
    return sizes[id(node)]


def _repeated_keys(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Keys that a mapping has twice, of which YAML would silently use the last, with their lines from 1."""
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if isinstance(key.value, str) and key.value in keys:
                yield key.value, key.start_mark.line + 1
            keys.add(str(key.value))
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _repeated_keys(each)


def line_of(root: yaml.Node, path: Sequence[int | str]) -> int:
    """The line, from 1, of a field in the file, or of the nearest field around it that the file contains."""
    node, line = root, root.start_mark.line
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
    return line + 1
