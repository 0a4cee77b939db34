"""Unique class names: outside tests, a name stands for one class, so that a search for it finds one definition."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

MAY_REPEAT = {
    "Row": "each service has a base class of its own, with a registry of its own for its tables",
}


def repeated_class_names(root: Path) -> Iterator[str]:
    places = defaultdict(list)
    for path in sorted(root.glob("[!.]*/**/*.py")):
        name = path.relative_to(root).as_posix()
        if "tests/" not in name:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{name}:{node.lineno}")
    for class_name, found in sorted(places.items()):
        if len(found) > 1 and class_name not in MAY_REPEAT:
            yield f"{found[0]}: class {class_name} is also defined at {', '.join(found[1:])}"
