"""The pages of the documentation, their sections and the blocks in these: tools/doc_blocks.py as a module."""

import importlib.util
import sys
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("doc_blocks", Path(__file__).parents[2] / "tools" / "doc_blocks.py")
assert _SPEC is not None
assert _SPEC.loader is not None
doc_blocks = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = doc_blocks
_SPEC.loader.exec_module(doc_blocks)
