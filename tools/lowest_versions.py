"""The lowest versions that pyproject.toml admits, as constraints for pip: `make test-lowest` installs them."""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
EXTRAS = "jax", "torch", "lab", "table", "dev"
BOUND = re.compile(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?\s*>=\s*([0-9.]+)")


def constraints() -> list[str]:
    """One for each requirement of the package and of its extras."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    return sorted(f"{found[1]}=={found[2]}" for text in asked if (found := BOUND.match(text)))


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in constraints()))
