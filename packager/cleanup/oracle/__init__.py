"""The oracle: it cleans so that all that worked before works after, and says what it had to keep for that, and why."""

from packager.cleanup.oracle.fixpoint import Judgement, OracleMeans, clean_with_oracle
from packager.cleanup.oracle.subject import Subject, subject_of

__all__ = ["Judgement", "OracleMeans", "Subject", "clean_with_oracle", "subject_of"]
