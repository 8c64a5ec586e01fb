"""Descriptions of recommenders for tests."""

from __future__ import annotations

from recsys.recommenders import Description

MOVIES = Description(name="movie_rec_sys", title="Movie recommender")
"""The recommender of an installation without descriptions."""
