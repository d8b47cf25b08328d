"""Painting: by optimisation, and by trained networks.

Rooms, each using only those before it: network, models, gatys, memory, polish, fast, stylize, flow, video, upscale, export.
"""
