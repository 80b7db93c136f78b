"""The manual: pages of ``docs/``, pages made from what is registered, and the checks of both.

python -m manual.build            all pages and the site, in build/manual/
python -m manual.blocks --write   run the command blocks of docs/ and write their output anew

pages       every page of the manual, and its navigation
parts       pages of attentions, positions, tasks, metrics and experiments, from what `attnlab show` knows
api         pages of the Python API, from docstrings
commands    pages of the commands, from their help
settings    the fields of models, training and modifiers
diagram     the drawing of the layers
markdown    words of docstrings -> Markdown
links       whether links and anchors of pages and of the built site resolve
blocks      the command blocks of a page: they are run, and their output is compared
"""
