"""The screen: figures, desks, and the command.

Each uses those before it: plots, diagram, experiments, desk, control_desk, playground, jobs, films, parser, cli.
"""
