"""Training: fast networks, and the making of a critic.

Rooms, each using only those before it: config, upscaling, objective, muon, runs, start, trainer, prune, distil.
"""
