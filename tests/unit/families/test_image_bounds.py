from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize

from families import FAMILIES, ImageBounds

SIDES = st.integers(1, 6_000)


def by_transformers(bounds: ImageBounds, width: int, height: int) -> tuple[int, int] | None:
    """None: the size is refused."""
    try:
        fitted = smart_resize(
            2, height, width, 2, bounds.factor, min_pixels=2 * bounds.min_pixels, max_pixels=2 * bounds.max_pixels
        )
    except ValueError:
        return None
    return fitted[1], fitted[0]


@given(SIDES, SIDES)
@example(2_232, 62)  # the order of the divisions changes how it is rounded
@example(27, 28)
@example(1, 200)
@example(1, 201)
def test_sizes_equal_those_of_transformers_image_processor(width: int, height: int) -> None:
    for family in FAMILIES.values():
        try:
            ours = family.images.fit(width, height)
        except ValueError:
            ours = None
        assert ours == by_transformers(family.images, width, height)
