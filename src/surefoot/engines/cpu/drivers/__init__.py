"""Generic drivers, and what they are made of: `specialize` gives the compiled copy of a driver for a rule.

Names in capitals are filled in by `compiling`: F, the type of the arithmetic; RULE, the rule's function; SHARED,
whether coordinates share a rate; and functions chosen by what is done around the rule: GRADIENT, START and PROXIMAL act
before and after it, ZERO_GRAD lets a row catch up on steps without a gradient. `make lint` checks that each of these
names is filled in.
"""
