"""What else makes warped digit sequences: the same work, written for other libraries.

Each class is one way, as fast as its library allows. A call draws digits, gaps and warps anew and
gives images and labels; `paint` does the same for a plan that is given, so that the pixels can be
compared. The warp is the one of ImageDataGenerator everywhere: bilinear, edges repeated.

TensorFlow, Keras and OpenCV are imported only by the class that needs them.
"""

import itertools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digitseq.core import Glyphs

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # both are read when TensorFlow is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LENGTH, WIDTH, SIDE, BATCH, MAX_GAP = 4, 200, 28, 256, 10
RANGES: dict[str, Any] = {
    "rotation_range": 10,
    "width_shift_range": 0.2,
    "height_shift_range": 0.2,
    "shear_range": 0.2,
    "zoom_range": 0.1,
}
NAMES = ("theta", "tx", "ty", "shear", "zx", "zy")
LOW = np.array([-10, -0.2 * SIDE, -0.2 * SIDE, -0.2, 0.9, 0.9])
HIGH = np.array([10, 0.2 * SIDE, 0.2 * SIDE, 0.2, 1.1, 1.1])


class Plan(NamedTuple):
    """What is random about a batch: which glyphs, where they begin, how they are warped."""

    positions: NDArray[np.int64]  # shape (N, L)
    left: NDArray[np.int64]  # shape (N, L)
    warps: NDArray[np.float64]  # shape (6, N, L), in the order of NAMES


def draw_plan(rng: np.random.Generator, glyphs: int) -> Plan:
    """Draw a batch with NumPy, everything at once."""
    positions = rng.integers(0, glyphs, (BATCH, LENGTH))
    gaps = rng.integers(0, MAX_GAP + 1, (BATCH, LENGTH - 1))
    left = np.zeros((BATCH, LENGTH), np.int64)
    np.cumsum(SIDE + gaps, axis=1, out=left[:, 1:])
    left += (WIDTH - SIDE - left[:, -1:]) // 2
    warps = rng.uniform(LOW[:, None, None], HIGH[:, None, None], (6, BATCH, LENGTH))
    return Plan(positions, left, warps)


def maps(warps: Any, maths: Any) -> list[Any]:
    """Give a, b, c, d, e, f of x' = a x + b y + c and y' = d x + e y + f, in NumPy or TensorFlow.

    It is ImageDataGenerator's product of a rotation, a shift, a shear and a zoom about the centre,
    multiplied out.
    """
    theta, shear = warps[0] * (np.pi / 180), warps[3] * (np.pi / 180)
    tx, ty, zx, zy = warps[1], warps[2], warps[4], warps[5]
    cos, sin, middle = maths.cos(theta), maths.sin(theta), SIDE / 2 - 0.5
    a, b = cos * zx, -maths.sin(theta + shear) * zy
    d, e = sin * zx, maths.cos(theta + shear) * zy
    c = cos * tx - sin * ty + middle - (a + b) * middle
    f = sin * tx + cos * ty + middle - (d + e) * middle
    return [a, b, c, d, e, f]


def pixels(images: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    """Give glyphs as they are, or as float32 in [0, 1]."""
    return images if dtype == "uint8" else images.astype(np.float32) / np.float32(255)


def paint_by_scipy(images: NDArray[np.uint8], plan: Plan) -> NDArray[np.float64]:
    """Say slowly, in float64 and not rounded, what all of them have to paint."""
    from scipy.ndimage import affine_transform

    canvases = np.zeros((len(plan.left), SIDE, WIDTH))
    for n, j in np.ndindex(plan.left.shape):
        theta, tx, ty, shear, zx, zy = plan.warps[:, n, j]
        cos, sin = np.cos(np.radians(theta)), np.sin(np.radians(theta))
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        shift = np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
        slant = np.array([[1, -np.sin(np.radians(shear)), 0], [0, np.cos(np.radians(shear)), 0]])
        there = np.array([[1, 0, SIDE / 2 - 0.5], [0, 1, SIDE / 2 - 0.5], [0, 0, 1]])
        warp = there @ turn @ shift @ np.vstack([slant, [0, 0, 1]]) @ np.diag([zx, zy, 1])
        warp = (warp @ np.linalg.inv(there))[[1, 0, 2]][:, [1, 0, 2]]  # rows before columns
        glyph = images[plan.positions[n, j]].astype(float)
        warped = affine_transform(glyph, warp[:2, :2], warp[:2, 2], order=1, mode="nearest")
        cell = canvases[n, :, plan.left[n, j] : plan.left[n, j] + SIDE]
        np.maximum(cell, warped, out=cell)
    return canvases


class KerasScript:
    """Keras' ImageDataGenerator warps digit after digit, np.hstack joins them.

    A flow shuffles, draws and warps; four of its digits in a row make a sequence. That is the
    least work with these tools: no digit is looked for, none is warped that is not used.
    """

    def __init__(self, glyphs: Glyphs, dtype: str) -> None:
        self.rng = np.random.default_rng(0)
        self.images = glyphs.images[..., None].astype(np.float32)
        if dtype == "float32":
            self.images /= np.float32(255)
        self.generator = image_data_generator(**RANGES)
        size = BATCH * LENGTH
        self.flow = self.generator.flow(self.images, glyphs.labels, batch_size=size, seed=0)
        self.blank = np.zeros((SIDE, MAX_GAP), np.float32)
        self.out, self.dtype = np.empty((BATCH, SIDE, WIDTH), np.float32), dtype

    def stack(self, digits: NDArray[np.float32], gaps: NDArray[np.int64]) -> NDArray[Any]:
        """Join the digits of each sequence, with gaps between them, centred on a canvas."""
        self.out.fill(0)
        for canvas, (first, *others), row in zip(self.out, digits, gaps.tolist(), strict=True):
            parts = [first]
            for gap, digit in zip(row, others, strict=True):
                parts += [self.blank[:, :gap], digit]
            strip = np.hstack(parts)
            left = (WIDTH - strip.shape[1]) // 2
            canvas[:, left : left + strip.shape[1]] = strip
        if self.dtype == "float32":
            return self.out
        return (self.out + np.float32(0.5)).astype(np.uint8)

    def __call__(self) -> tuple[NDArray[Any], NDArray[Any]]:
        digits, labels = next(self.flow)
        gaps = self.rng.integers(0, MAX_GAP + 1, (BATCH, LENGTH - 1))
        digits = digits.reshape(BATCH, LENGTH, SIDE, SIDE)
        return self.stack(digits, gaps), labels.reshape(BATCH, LENGTH)

    def paint(self, plan: Plan) -> NDArray[Any]:
        warp, warps = self.generator.apply_transform, plan.warps.reshape(6, -1).T
        settings = [dict(zip(NAMES, row, strict=True)) for row in warps.tolist()]
        chosen = self.images[plan.positions.ravel()]
        digits = np.stack([warp(image, one) for image, one in zip(chosen, settings, strict=True)])
        return self.stack(digits.reshape(-1, LENGTH, SIDE, SIDE), np.diff(plan.left) - SIDE)


def image_data_generator(**settings: Any) -> Any:
    """Make an ImageDataGenerator of Keras."""
    return tensorflow().keras.preprocessing.image.ImageDataGenerator(**settings)


class OpenCV:
    """cv2.warpAffine writes glyph after glyph straight into its place on the canvas.

    All draws and matrices of a batch are made at once, the canvas is the same one each time. As no
    gap is negative, no two cells overlap, and the maximum need not be taken.
    """

    def __init__(self, glyphs: Glyphs, dtype: str) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.warp, self.edges = cv2.warpAffine, cv2.BORDER_REPLICATE
        self.flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        self.rng, self.labels = np.random.default_rng(0), glyphs.labels
        self.images, self.out = pixels(glyphs.images, dtype), np.empty((BATCH, SIDE, WIDTH), dtype)

    def __call__(self) -> tuple[NDArray[Any], NDArray[Any]]:
        plan = draw_plan(self.rng, len(self.images))
        return self.paint(plan), self.labels[plan.positions]

    def paint(self, plan: Plan) -> NDArray[Any]:
        self.out.fill(0)
        matrices = iter(np.stack(maps(plan.warps, np), -1).reshape(-1, 2, 3))
        images, warp, flags, edges, size = self.images, self.warp, self.flags, self.edges, SIDE
        rows = zip(self.out, plan.positions.tolist(), plan.left.tolist(), strict=True)
        for canvas, chosen, left in rows:
            for k, x in zip(chosen, left, strict=True):
                cell = canvas[:, x : x + size]
                warp(images[k], next(matrices), (size, size), cell, flags, edges)
        return self.out


class Graph:
    """Draw digits, gaps and warps in a compiled TensorFlow graph; how to paint is left open.

    One thread does all. The tensors are given as they are, which spares TensorFlow a copy. A
    tf.data pipeline around the graph could only add to its work (and its threads run ahead, so
    that what they do would be counted as the time of others).
    """

    def __init__(self, glyphs: Glyphs, dtype: str) -> None:
        self.tf = tf = tensorflow()
        self.dtype, self.labels = dtype, tf.constant(glyphs.labels.astype(np.int32))
        self.numbers = itertools.count()
        self.prepare(glyphs.images)
        self.draw = tf.function(self.draws, jit_compile=True)
        self.make = tf.function(self.everything)

    def prepare(self, images: NDArray[np.uint8]) -> None:
        raise NotImplementedError

    def images_of(self, positions: Any, left: Any, warps: Any) -> Any:
        raise NotImplementedError

    def draws(self, number: Any) -> tuple[Any, Any, Any, Any]:
        tf, seeds = self.tf, [[number, k] for k in range(3)]
        uniform, grid = tf.random.stateless_uniform, (BATCH, LENGTH)
        positions = uniform(grid, seeds[0], 0, len(self.labels), tf.int32, alg="philox")
        gaps = uniform((BATCH, LENGTH - 1), seeds[1], 0, MAX_GAP + 1, tf.int32, alg="philox")
        left = tf.pad(tf.cumsum(SIDE + gaps, axis=1), ((0, 0), (1, 0)))
        left += (WIDTH - SIDE - left[:, -1:]) // 2
        low, high = (tf.constant(v[:, None, None], tf.float32) for v in (LOW, HIGH))
        warps = low + (high - low) * uniform((6, *grid), seeds[2], alg="philox")
        return positions, left, warps, tf.gather(self.labels, positions)

    def everything(self, number: Any) -> tuple[Any, Any]:
        positions, left, warps, labels = self.draw(number)
        return self.images_of(positions, left, warps), labels

    def __call__(self) -> Any:
        return self.make(self.tf.constant(next(self.numbers)))

    def paint(self, plan: Plan) -> NDArray[Any]:
        positions, left = plan.positions.astype(np.int32), plan.left.astype(np.int32)
        images = self.images_of(positions, left, plan.warps.astype(np.float32))
        return np.asarray(images.numpy())

    def owners(self, left: Any, values: Sequence[Any]) -> list[Any]:
        """Give for each column of the canvas the values of the last digit that began before it."""
        tf, columns = self.tf, np.arange(WIDTH, dtype=np.int32)[None]
        found = [value[:, :1] for value in values]
        for j in range(1, LENGTH):
            begun = columns >= left[:, j : j + 1]
            pairs = zip(found, values, strict=True)
            found = [tf.where(begun, new[:, j : j + 1], old) for old, new in pairs]
        return found

    def finish(self, images: Any) -> Any:
        """Bring values of 0 to 255 to the type that is wanted."""
        if self.dtype == "float32":
            return images * np.float32(1 / 255)
        return self.tf.cast(images + np.float32(0.5), self.tf.uint8)


class OperationGraph(Graph):
    """TensorFlow's own operation ImageProjectiveTransformV3 warps; the columns are gathered.

    The glyphs are kept on their side, so that a column of the canvas is 28 numbers in a row. On
    uint8 the operation would be faster, but it cuts off instead of rounding: it works on float32.
    """

    def prepare(self, images: NDArray[np.uint8]) -> None:
        sideways = images.transpose(0, 2, 1)[..., None].astype(np.float32)
        self.sideways = self.tf.constant(sideways)
        self.matrices = self.tf.function(self.eight_numbers, jit_compile=True)
        self.sources = self.tf.function(self.source_columns, jit_compile=True)
        self.upright = self.tf.function(self.turned, jit_compile=True)

    def eight_numbers(self, warps: Any) -> Any:
        a, b, c, d, e, f = maps(warps, self.tf)
        rows = [e, d, f, b, a, c, self.tf.zeros_like(a), self.tf.zeros_like(a)]
        return self.tf.reshape(self.tf.stack(rows, -1), (-1, 8))

    def source_columns(self, left: Any) -> Any:
        tf = self.tf
        first = tf.reshape(tf.range(BATCH * LENGTH), (BATCH, LENGTH)) * SIDE
        edge, start = self.owners(left, [left, first])
        inside = tf.range(WIDTH)[None] - edge
        return tf.where((inside >= 0) & (inside < SIDE), start + inside, BATCH * LENGTH * SIDE)

    def turned(self, columns: Any) -> Any:
        return self.finish(self.tf.transpose(columns, (0, 2, 1)))

    def images_of(self, positions: Any, left: Any, warps: Any) -> Any:
        tf = self.tf
        warped = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.gather(self.sideways, tf.reshape(positions, (-1,))),
            transforms=self.matrices(warps),
            output_shape=(SIDE, SIDE),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )
        columns = tf.pad(tf.reshape(warped, (-1, SIDE)), ((0, 1), (0, 0)))  # the last is blank
        return self.upright(tf.gather(columns, self.sources(left)))


class CompiledGraph(Graph):
    """XLA compiles a kernel of our own: for each pixel of the canvas, where does it come from?

    The four neighbours that a pixel is blended from lie packed in one 32-bit number, so that one
    look-up finds them all. What belongs to a column is settled in a first compiled function;
    the second does the pixels. (In one, XLA would settle it anew for each pixel.)
    """

    def prepare(self, images: NDArray[np.uint8]) -> None:
        tf, edged = self.tf, np.pad(images, ((0, 0), (0, 1), (0, 1)), mode="edge").astype(np.uint32)
        top, bottom = edged[:, :SIDE], edged[:, 1:]
        packed = top[..., :SIDE] | top[..., 1:] << 8 | bottom[..., :SIDE] << 16
        packed |= bottom[..., 1:] << 24
        blank = np.zeros((1, SIDE, SIDE), np.uint32)
        self.packed = tf.constant(np.concatenate([packed, blank]).view(np.int32).ravel())
        self.columns = tf.function(self.settle_columns, jit_compile=True)
        self.canvas = tf.function(self.paint_columns, jit_compile=True)

    def settle_columns(self, positions: Any, left: Any, warps: Any) -> tuple[Any, ...]:
        tf, (a, b, c, d, e, f) = self.tf, maps(warps, self.tf)
        values = [left, positions, a, b, c, d, e, f]
        edge, glyph, a, b, c, d, e, f = self.owners(left, values)
        inside = tf.range(WIDTH)[None] - edge
        glyph = tf.where((inside >= 0) & (inside < SIDE), glyph, len(self.labels))
        x = tf.cast(inside, tf.float32)
        return glyph * SIDE**2, a * x + c, b, d * x + f, e

    def paint_columns(self, start: Any, x: Any, b: Any, y: Any, e: Any) -> Any:
        tf, rows = self.tf, np.arange(SIDE, dtype=np.float32)[None, :, None]
        x = tf.clip_by_value(x[:, None] + b[:, None] * rows, 0, SIDE - 1)
        y = tf.clip_by_value(y[:, None] + e[:, None] * rows, 0, SIDE - 1)
        whole_x, whole_y = tf.floor(x), tf.floor(y)
        index = start[:, None] + tf.cast(whole_y * SIDE + whole_x, tf.int32)
        four = tf.gather(self.packed, index)
        shifted = [tf.bitwise.right_shift(four, k) for k in (0, 8, 16, 24)]
        p, q, r, s = (tf.cast(tf.bitwise.bitwise_and(k, 255), tf.float32) for k in shifted)
        top, bottom = p + (x - whole_x) * (q - p), r + (x - whole_x) * (s - r)
        return self.finish(top + (y - whole_y) * (bottom - top))

    def images_of(self, positions: Any, left: Any, warps: Any) -> Any:
        return self.canvas(*self.columns(positions, left, warps))


def tensorflow() -> Any:
    """Import TensorFlow, with one thread."""
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != 1:  # then nothing has run yet
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf
