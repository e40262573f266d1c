"""Text for Relation Attention: what the things in a prompt do to each other."""

from radl_model.verbs.extract import EXTRACTORS, MODES, extract_verbs

__all__ = ["EXTRACTORS", "MODES", "extract_verbs"]
