"""Reports on runs and sweeps: one HTML page, CSV tables and PNG figures.

runs, studies, events: read folders   comparison: published results
score_tables, run_tables, figures: tables and figures of a study
chapters, page: the HTML page   report_files, writer: the report's folder
"""
