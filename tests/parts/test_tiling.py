"""Windows over pictures, and their outputs blended back."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from foveate.parts.tiling import Canvas, fade, offsets, stream, tiled

quick = settings(deadline=None, max_examples=60)


@st.composite
def layouts(draw, longest: int = 60) -> tuple[int, int, int, int]:
    """Draw height, width, tile and overlap."""
    tile = draw(st.integers(1, 16))
    return draw(st.integers(1, longest)), draw(st.integers(1, longest)), tile, draw(st.integers(0, tile - 1))


def random_picture(height: int, width: int, channels: int = 3) -> Tensor:
    """Make a picture that depends on its size only."""
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(height * 1000 + width))


def windowed(x: Tensor) -> Tensor:
    """Stand for a network whose output depends on the window: each window is normalised by itself."""
    return (x - x.mean((-2, -1), keepdim=True)) / (x.std((-2, -1), keepdim=True, correction=0) + 0.1)


# Where the windows lie
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "expected"),
    [(257, [0, 1]), (720, [0, 232, 464]), (1000, [0, 248, 496, 744]), (256, [0]), (255, [0]), (1, [0]), (512, [0, 256])],
)
def test_windows_lie_where_the_released_code_puts_them(length, expected):
    assert offsets(length, 256) == expected


@quick
@given(st.integers(1, 3000), st.integers(1, 300), st.data())
def test_windows_cover_everything_and_overlap_enough(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts = offsets(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(length - tile, 0), "the last one is flush"
    for one, next_ in itertools.pairwise(starts):
        assert 0 < next_ - one <= tile - overlap
    needed = 1 if length <= tile else -(-(length - overlap) // (tile - overlap))
    assert len(starts) == needed, "no window more than it takes"


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_must_fit_the_tile(overlap):
    with pytest.raises(ValueError, match="overlap"):
        offsets(100, 8, overlap)


# What comes out
# ---------------------------------------------------------------------------------------------------------------------


@quick
@given(layouts(), st.integers(1, 5))
def test_the_identity_gives_the_picture_back(layout, batch):
    height, width, tile, overlap = layout
    picture = random_picture(height, width)
    assert torch.equal(tiled(lambda x: x, picture, tile, overlap, batch), picture)


@quick
@given(layouts(), st.sampled_from([torch.float32, torch.float16, torch.float64]))
def test_a_constant_stays_that_constant(layout, dtype):
    height, width, tile, overlap = layout
    out = tiled(lambda x: torch.full_like(x[:, :1], 0.3), torch.zeros(3, height, width, dtype=dtype), tile, overlap)
    assert torch.equal(out, torch.full((1, height, width), 0.3, dtype=dtype))


@quick
@given(st.integers(1, 20), st.integers(1, 20), st.integers(20, 30))
def test_a_picture_of_one_window_equals_the_plain_call(height, width, tile):
    picture = random_picture(height, width)
    assert torch.equal(tiled(windowed, picture, tile, 8), windowed(picture[None])[0])


def test_a_picture_of_the_tiles_size_is_one_plain_call():
    picture, calls = random_picture(256, 256), []

    def network(x: Tensor) -> Tensor:
        calls.append(x)
        return windowed(x)

    assert torch.equal(tiled(network, picture), windowed(picture[None])[0])
    assert len(calls) == 1
    assert torch.equal(calls[0][0], picture)


def slow_blend(network, picture: Tensor, tile: int, overlap: int) -> Tensor:
    """Blend in the obvious way: pixel by pixel, along a row of windows first and then down the rows.

    A pixel that a later window shares with all the earlier ones moves towards the later one by the share of the way that
    it has gone into the shared part.
    """

    def along(length: int, values: dict[int, list[float]]) -> list[float]:
        out: list[float | None] = [None] * length
        for start, piece in sorted(values.items()):
            shared = sum(out[start + i] is not None for i in range(len(piece)))
            for i, value in enumerate(piece):
                before = out[start + i]
                out[start + i] = value if before is None else before + (i + 1) / (shared + 1) * (value - before)
        return out  # type: ignore[return-value]

    channels, height, width = picture.shape
    tops, lefts = offsets(height, tile, overlap), offsets(width, tile, overlap)
    result = torch.empty(picture.shape, dtype=torch.float64)
    outputs = {
        (top, left): network(picture[None, :, top : top + tile, left : left + tile])[0].double()
        for top, left in itertools.product(tops, lefts)
    }
    for channel in range(channels):
        rows = {}
        for top in tops:
            lines = range(outputs[top, 0].shape[1])
            rows[top] = [along(width, {left: outputs[top, left][channel, y].tolist() for left in lefts}) for y in lines]
        for x in range(width):
            column = along(height, {top: [row[x] for row in rows[top]] for top in tops})
            result[channel, :, x] = torch.tensor(column, dtype=torch.float64)
    return result


@quick
@given(layouts(longest=24))
def test_the_blend_is_the_obvious_one(layout):
    height, width, tile, overlap = layout
    picture = random_picture(height, width, channels=1)
    expected = slow_blend(windowed, picture, tile, overlap)
    torch.testing.assert_close(tiled(windowed, picture, tile, overlap).double(), expected, rtol=0, atol=1e-5)


@quick
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_fade_goes_from_one_to_the_other(before, after, data):
    shared = data.draw(st.integers(0, min(before, after)))
    joined = fade(torch.zeros(2, before), torch.ones(2, after), shared, dim=-1)
    assert joined.shape == (2, before + after - shared)
    assert (joined.diff(dim=-1) >= 0).all()
    ramp = joined[0, before - shared : before]
    torch.testing.assert_close(ramp, torch.arange(1, shared + 1) / (shared + 1))
    torch.testing.assert_close(fade(torch.zeros(before, 2), torch.ones(after, 2), shared, dim=0), joined.T)


# Streaming
# ---------------------------------------------------------------------------------------------------------------------


def canvas(picture: Tensor, tile: int, overlap: int) -> tuple[Canvas, list[tuple[int, Tensor]]]:
    """Make a canvas over a picture, and the list that its rows go to."""
    rows: list[tuple[int, Tensor]] = []
    made = Canvas(
        picture.shape[-2], picture.shape[-1], lambda r, c: picture[..., r, c], lambda y, strip: rows.append((y, strip.clone())),
        tile, overlap,
    )  # fmt: skip
    return made, rows


@quick
@given(layouts())
def test_rows_are_passed_on_as_soon_as_they_are_done(layout):
    """So that little more than one row of windows is ever held."""
    height, width, tile, overlap = layout
    picture = random_picture(height, width, channels=1)
    made, rows = canvas(picture, tile, overlap)
    assume(height > tile)
    for number, window in enumerate(made.windows(), start=1):
        made.place(window)
        top = made.tops[(number - 1) // len(made.lefts)]
        written = sum(strip.shape[-2] for _, strip in rows)
        if number % len(made.lefts) == 0:
            later = [t for t in made.tops if t > top]
            assert written == (later[0] if later else height), "all that no later window reaches"
        held = 0 if made._strip is None else made._strip.shape[-2]
        assert held <= tile
        assert made._strip is None or made._strip.untyped_storage().nbytes() <= 4 * tile * width, "a view would hold it all"
    assert made.done
    starts = [y for y, _ in rows]
    assert starts == sorted(set(starts))
    assert starts == [0, *torch.tensor([strip.shape[-2] for _, strip in rows]).cumsum(0).tolist()[:-1]], "without a gap"
    assert torch.equal(torch.cat([strip for _, strip in rows], dim=-2), picture)


@quick
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5), st.integers(1, 7))
def test_windows_of_several_pictures_go_in_batches(sizes, batch):
    """The pictures come out in order, each the same as by itself, and are opened only as they are needed."""
    pictures = [random_picture(height, width) for height, width in sizes]
    made = [canvas(picture, 8, 2) for picture in pictures]
    shapes, opened = [], []

    def network(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return windowed(x)

    def feed():
        for i, (each, _) in enumerate(made):
            opened.append(i)
            yield each

    for i, done in enumerate(stream(network, feed(), batch)):
        assert done is made[i][0]
        assert done.done
        placed = sum(shape[0] for shape in shapes)
        assert len(opened) - 1 <= i + batch, "no picture is opened long before its turn"
        assert placed >= sum(len(each) for each, _ in made[: i + 1])
    assert opened == list(range(len(sizes)))
    assert i == len(sizes) - 1
    assert max(shape[0] for shape in shapes) <= batch
    assert sum(shape[0] for shape in shapes) == sum(len(each) for each, _ in made)
    for picture, (_, rows) in zip(pictures, made, strict=True):
        torch.testing.assert_close(torch.cat([strip for _, strip in rows], dim=-2), tiled(windowed, picture, 8, 2, batch=1))


def test_batches_are_full_where_windows_are_alike():
    sizes = []

    def network(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x

    list(stream(network, [canvas(random_picture(20, 20), 8, 0)[0] for _ in range(3)], batch=4))
    assert sizes == [4, 4, 4, 4, 4, 4, 3]
