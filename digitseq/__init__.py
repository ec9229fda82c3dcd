"""Labelled images of handwritten digit sequences."""
