"""Motions as pictures: ``render`` writes a file, ``draw_frames`` gives arrays."""

from hftrainer.rendering.player import player_page, write_player
from hftrainer.rendering.skeleton import contact_sheet, draw_frames
from hftrainer.rendering.video import FORMATS, render

__all__ = ["FORMATS", "contact_sheet", "draw_frames", "player_page", "render", "write_player"]
