"""Reading molecules from the files people have: tables, lists, JSON, Parquet and SDF, plain or compressed."""

from chemscale.molecules.preparation.sources.reading import Reading
from chemscale.molecules.preparation.sources.source import Source
from chemscale.molecules.preparation.sources.streams import SourceError

__all__ = ["Reading", "Source", "SourceError"]
