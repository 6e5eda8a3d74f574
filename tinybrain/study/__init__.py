"""The study of the paper: every table and its figures, over subjects, resumable.

    pieces.py      one model trained and judged, in a folder of its own
    plan.py        what is there, what is to do, how long that will take
    tables.py      one table in Markdown, CSV, JSON, LaTeX and HTML
    within.py      Tables 1 and 4
    cross.py       Tables 2, 3 and 5
    others.py      one model of all other subjects
    ways.py        Tables 6 to 9 and Figure 5
    drawing.py     bars and heat maps
    whole.py       all of it, and topographies
    page.py        a page of sections, in Markdown and HTML
    command.py     the command line that the examples share
"""
