"""Speed and memory compared with other libraries: `python -m benchmarks`, or one topic, `python -m benchmarks dense`.

How everything is measured and counted: docs/benchmarks.md.
"""
