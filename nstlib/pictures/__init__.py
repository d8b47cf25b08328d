"""Pictures: files, samples, photographs, as tensors and back.

Rooms, each using only those before it: pixels, colour, convert, files, animations, downloads, samples, photos, clips, reel.
"""  # noqa: E501
