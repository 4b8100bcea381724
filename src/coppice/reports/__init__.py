"""What a run leaves for people: one HTML file, figures for a paper, a table for a page."""

from coppice.reports.markdown import results_markdown
from coppice.reports.report import figure_files, write_report

__all__ = ["figure_files", "results_markdown", "write_report"]
