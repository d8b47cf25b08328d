"""The screen: figures, desks, and the command.

Rooms, each using only those before it: plots, experiments, desk, control_desk, playground, jobs, films, parser, cli.
"""
