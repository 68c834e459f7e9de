"""The lowest versions that pyproject.toml admits, as constraints for pip: `make test-lowest` installs them.

What runs the tests is as in constraints.txt.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = "jax", "torch", "lab", "table"
TOOLS = "expecttest", "hypothesis", "iniconfig", "execnet", "packaging", "pluggy", "pytest", "pytest-xdist"
BOUND = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*>=\s*([0-9.]+)")


def constraints() -> Iterator[str]:
    """One for each requirement of the package and its extras, and for what runs the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra])]
    for text in asked:
        bound = BOUND.match(text)
        if bound is None:
            raise ValueError(f"pyproject.toml: found {text!r}, expected a lower bound, such as 'numpy>=1.26'")
        yield f"{bound[1]}=={bound[2]}"
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.partition("==")[0] in TOOLS:
            yield line


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in constraints()))
