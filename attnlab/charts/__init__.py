"""Charts as Vega-Lite definitions, which are plain data: no library of plots is imported.

runs         accuracy against complexity, and learning curves
diagnostics  diagnostics by step and layer, and attention maps
look         fonts, axes and legends
pooling      large attention maps as smaller ones
as_altair    a definition as a chart of altair, for a notebook
"""
