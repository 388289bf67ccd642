"""YAML as people write it, in which a small text stays small and nothing is said twice."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_DEPTH = 50  # lists in lists


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (which unfold to any size), keys that occur twice, and depths that end the process."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not understood: write it out")
        if self.depth > _MOST_DEPTH:
            raise yaml.YAMLError(f"it holds lists within lists, more than {_MOST_DEPTH} deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"{key.value!r} occurs twice, line {node.start_mark.line + 1} and below")
            seen.add(str(key.value))
        return node


def check(text: str) -> None:
    """Looks at a text without making anything of it.

    Raises:
        yaml.YAMLError: it is no YAML, or none that people write.
    """
    yaml.compose(text, Loader=_Loader)


def load(text: str) -> Any:
    """What a text says.

    Raises:
        yaml.YAMLError: as `check`; ValueError: of a number that is none.
    """
    return yaml.load(text, Loader=_Loader)
