"""Linear models from streams of sparse examples: the learner, estimators with scikit-learn's interface, model files."""
