"""Painting: by optimisation, and by trained networks.

Rooms, each using those before it: network, models, gatys, memory, polish, fast, stylize, flow, video, upscale, export.
"""
