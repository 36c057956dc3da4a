"""Fillers, and the random streams behind them."""

from .fillers import FILLERS, FORKS, check, fan, fans, fill, filler, outputs, sigma

__all__ = ["FILLERS", "FORKS", "check", "fan", "fans", "fill", "filler", "outputs", "sigma"]
