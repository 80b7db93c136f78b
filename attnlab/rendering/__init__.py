"""Records and results -> tables, pages, plots and files."""
