"""The critic: features of a frozen network, and the losses on them.

Rooms, each using only those before it: extractor, guides, losses, tiled, presets.
"""
