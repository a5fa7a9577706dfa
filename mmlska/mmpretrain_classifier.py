"""The old name of :mod:`mmlska.classification.mmpretrain`, which configs dumped by earlier versions import."""

from .classification.mmpretrain import *  # noqa: F403  importing registers the classifier
