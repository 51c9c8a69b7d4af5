"""Errors of a trained potential on a part of its store: kept, and shown on a page."""

from chemscale.points.trained.evaluation.run import Evaluation, evaluate_run

__all__ = ["Evaluation", "evaluate_run"]
