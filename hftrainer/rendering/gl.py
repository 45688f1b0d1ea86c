"""Triangles to pixels with OpenGL, without a window: the picture that ``raster`` draws, quicker on a graphics card."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from hftrainer.rendering.raster import Layer

_SAMPLES = 8
_STEP = 64  # pixels; canvases are so many times this wide and high
_VERTEX = """
#version 330
uniform vec2 corner;
uniform vec2 size;
uniform vec2 planes;
in vec3 place;
in vec3 colour;
out vec3 shade;
void main() {
    shade = colour;
    float depth = place.z;
    float far = (planes.y + planes.x - 2.0 * planes.x * planes.y / depth) / (planes.y - planes.x);
    vec2 at = 2.0 * (place.xy - corner) / size - 1.0;
    gl_Position = vec4(at.x, -at.y, far, 1.0);
}
"""
_FRAGMENT = """
#version 330
in vec3 shade;
out vec4 pixel;
void main() { pixel = vec4(shade, 1.0); }
"""


class Painter:
    """Fills triangles as ``raster.rasterise`` does.

    OpenGL belongs to the thread that opened it, so a painter has one of its own and may be used from any.

    Args:
        size: width and height of the pictures, pixels.

    Raises:
        ModuleNotFoundError: moderngl is not installed.
        OSError: there is no OpenGL 3.3 on this machine that works without a window.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        try:
            import moderngl
        except ModuleNotFoundError as exc:
            raise ModuleNotFoundError(
                'OpenGL needs the package moderngl; it is not installed. Run: pip install "hftrainer[gl]".'
            ) from exc
        self.thread = ThreadPoolExecutor(1)
        self.context = self._context(moderngl)
        self.thread.submit(self._prepare, moderngl, size).result()

    def _context(self, moderngl: Any) -> Any:
        """OpenGL without a window: by EGL where there is one, else as the system makes it."""
        said: list[str] = []
        for name in ("egl", None):
            made = self.thread.submit(self._opened, moderngl, name)
            error = made.exception()
            if error is None:
                return made.result()
            if type(error) is not Exception and not isinstance(error, (moderngl.Error, ImportError, OSError)):
                raise error  # a mistake of this program; glcontext says everything else by Exception itself
            said.append(str(error).strip() or type(error).__name__)
        self.thread.shutdown()
        raise OSError(
            f"OpenGL 3.3 without a window must be there for this; got: {said[0]}. Install Mesa's EGL (on Debian: "
            "apt install libegl1 libgl1-mesa-dri), or draw without OpenGL."
        )

    def _opened(self, moderngl: Any, name: str | None) -> Any:
        import glcontext  # comes with moderngl

        backend = glcontext.get_backend_by_name(name) if name else glcontext.default_backend()
        opened = backend(mode="standalone", glversion=330)
        # moderngl holds Python's lock while it waits for pixels; a call by ctypes lets other threads go on.
        self.finish = ctypes.CFUNCTYPE(None)(opened.load("glFinish"))
        return moderngl.create_context(standalone=True, require=330, context=opened)

    def _prepare(self, moderngl: Any, size: tuple[int, int]) -> None:
        self.size = size
        self.name = str(self.context.info["GL_RENDERER"])
        self.samples = min(_SAMPLES, self.context.max_samples)
        self.program: Any = self.context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self.canvas = (0, 0)
        self.held: list[Any] = []
        self.context.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        self.array: Any = None
        self.buffer: Any = None
        self.triangles: np.ndarray | None = None

    def _stretch(self, wide: int, high: int) -> tuple[int, int]:
        """Have a canvas that holds so many pixels and few more: without a graphics card every one of them costs."""
        canvas = (-(-wide // _STEP) * _STEP, -(-high // _STEP) * _STEP)
        if canvas != self.canvas:
            for each in self.held:
                each.release()
            parts = [
                self.context.renderbuffer(canvas, 4, samples=self.samples),
                self.context.depth_renderbuffer(canvas, samples=self.samples),
                self.context.renderbuffer(canvas, 4),
            ]
            self.many, self.one = self.context.framebuffer(parts[0], parts[1]), self.context.framebuffer(parts[2])
            self.held, self.canvas = [self.many, self.one, *parts], canvas
            self.program["size"].value = canvas
        return canvas

    def __call__(
        self, points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, colours: np.ndarray, size: tuple[int, int]
    ) -> Layer | None:
        """As ``raster.rasterise``; ``size`` must be the painter's."""
        if size != self.size:
            raise ValueError(f"size must be {self.size}, the painter's; got {size}. Make a painter for that size.")
        ends = np.array([(axis.min(), axis.max()) for axis in points.T]).T
        low = np.clip(np.floor(ends[0]).astype(int) - 1, 0, size)
        high = np.clip(np.ceil(ends[1]).astype(int) + 1, 0, size)
        if (high <= low).any():
            return None
        data = np.concatenate([points, depth[:, None], colours], axis=1, dtype=np.float32)
        box = (*low.tolist(), *high.tolist())
        raw = self.thread.submit(self._fill, data, triangles, box).result()
        pixels = np.frombuffer(raw, np.uint8).reshape(box[3] - box[1], box[2] - box[0], 4)[::-1] * np.float32(1 / 255)
        return Layer(box[0], box[1], pixels[..., :3], pixels[..., 3])

    def _fill(self, data: np.ndarray, triangles: np.ndarray, box: tuple[int, int, int, int]) -> bytes:
        """Pixels of a box (left, top, right, bottom) as RGBA, the lowest row first."""
        if self.triangles is not triangles or self.buffer.size != data.nbytes:
            self.buffer = self.context.buffer(data.tobytes(), dynamic=True)
            order = self.context.buffer(np.ascontiguousarray(triangles, dtype=np.int32).tobytes())
            parts = [(self.buffer, "3f 3f", "place", "colour")]
            self.array = self.context.vertex_array(self.program, parts, index_buffer=order)
            self.triangles = triangles
        else:
            self.buffer.write(data.tobytes())
        left, top, right, bottom = box
        canvas = self._stretch(right - left, bottom - top)
        depth = data[:, 2]
        self.program["corner"].value = (left, top)
        self.program["planes"].value = (0.98 * float(depth.min()), 1.02 * float(depth.max()))
        self.many.use()
        self.many.clear()
        self.array.render()
        self.finish()
        self.context.copy_framebuffer(self.one, self.many)
        self.finish()
        view = (0, canvas[1] - (bottom - top), right - left, bottom - top)
        return bytes(self.one.read(view, components=4, alignment=1))


@lru_cache(maxsize=4)
def painter(size: tuple[int, int]) -> Painter:
    """A painter for a size; the last few are kept. Raises as ``Painter``."""
    return Painter(size)
