"""Where bytes come from: files, several of them, globs, standard input, URLs; plain or compressed; cut at line ends.

A plain file is read in pieces that do not depend on each other: piece k has the lines that begin in its bytes, so
threads may read and parse any of them side by side. Everything else is read from its beginning to its end. Files are
read, not mapped: one that shrinks, or a network drive that fails, is an error then and not the end of the process, and
what was read does not count as memory of the process.
"""

from surefoot.data.stream.sources.opening import beginning, opened
from surefoot.data.stream.sources.paths import Identity, Paths, is_read_once, name_of, names, size

__all__ = ["Identity", "Paths", "beginning", "is_read_once", "name_of", "names", "opened", "size"]
