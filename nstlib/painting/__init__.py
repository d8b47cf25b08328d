"""Painting: by optimisation, and by trained networks.

Each uses those before it: network, models, tiles, gatys, memory, polish, fast, stylize, flow, video, upscale, export.
"""
