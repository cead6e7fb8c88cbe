"""Does a folder say what its data say? One file for each check; `run.audit` makes them all.

Two kinds of folders: labs and experiments of nightlab, whose numbers are made again and compared byte for byte; and
results of anybody, where texts, tables, code and figures are held against whatever rows there are.
"""
