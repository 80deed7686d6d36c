"""Frameworks at the edge: Hydra, MLflow, coders, embedders, model vendors."""
