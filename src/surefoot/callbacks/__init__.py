"""Callbacks for trainers: rows catch up before a model is evaluated or saved, and sparse gradients are clipped.

`lightning.py` and `transformers.py` have a callback each, `accelerate.py` what loops with Accelerate need. Each module
imports its framework, which nothing else here needs: import the module of the framework that you use.
"""
