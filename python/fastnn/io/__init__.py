"""Files: weights and whole models, without pickle."""

from .checkpoint import load, save
from .model import load_model, save_model

__all__ = ["load", "load_model", "save", "save_model"]
