"""What runs and sweeps came to: one HTML page, tables as CSV, figures as PNG.

runs, studies, events: folders -> studies   comparison: published figures
score_tables, run_tables, figures: studies -> what is shown
chapters, page: the page   report_files, writer: the folder as a whole
"""
