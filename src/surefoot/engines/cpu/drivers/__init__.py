"""Generic drivers, and what they are made of: `specialize` gives the compiled copy of a driver for a rule.

Names in capitals are filled in by `compiling`: F, the type of the arithmetic; PROGRAM, what a step does to a
coordinate, written out from the rule and its modifiers; EXPRESSION, of the statistic that a driver computes;
STATISTICS_OF_GRADIENT, MEAN_SQUARE and STATISTICS_OF_RULE, what coordinates of a row have in common, in this order; and
ZERO_GRAD, which lets a row catch up on steps without a gradient. `make lint` checks that each of these names is filled
in.
"""
