"""The report of a training: ``report.html`` in its work directory, and what the training keeps for it."""

from .page import record_run, report_training, write_report

__all__ = ['record_run', 'report_training', 'write_report']
