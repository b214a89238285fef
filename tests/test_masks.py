"""Masks of image completion: by name, as arrays and pictures, and as training draws them."""

import keras
import numpy as np
import pytest
import registry
from keras import ops
from PIL import Image
from scipy import special

import keras_vaegan as kvg
from keras_vaegan import conditions
from keras_vaegan.data import named_mask, read_mask
from keras_vaegan.data.masks import NAMED, check_mask

# `#` is given. Of an odd height or width the middle belongs to the bottom, or to the right.
DRAWN = {
    "left": "##.. ##.. ##.. / #.. #.. #.. #.. #..",
    "right": "..## ..## ..## / .## .## .## .## .##",
    "top": "#### .... .... / ### ### ... ... ...",
    "bottom": ".... #### #### / ... ... ### ### ###",
    "quadrants:1": ".... ##.. ##.. / ... ... #.. #.. #..",
    "quadrants:2": "##.. ##.. ##.. / #.. #.. #.. #.. #..",
    "quadrants:3": "#### ##.. ##.. / ### ### #.. #.. #..",
}
SHAPES = [(3, 4, 1), (5, 3, 2)]


def drawing(name):
    """The masks of that name for `SHAPES`, `(H, W)` bool."""
    return [np.array([list(row) for row in part.split()]) == "#" for part in DRAWN[name].split(" / ")]


def refused(*arguments):
    """The one line in which `check_mask` or `read_mask` refuses."""
    function = read_mask if not isinstance(arguments[0], (str, np.ndarray, list)) else check_mask
    with pytest.raises(kvg.InputError) as error:
        function(*arguments)
    message = str(error.value)
    assert message.startswith("mask ") and "\n" not in message
    return message


# ---- names ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", NAMED)
def test_a_named_mask_is_its_drawing(name):
    for image_shape, expected in zip(SHAPES, drawing(name), strict=True):
        mask = named_mask(name, image_shape)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.core_on("one")
def test_every_name_has_a_drawing():
    assert set(NAMED) == set(DRAWN)


@pytest.mark.core_on("one")
def test_the_nearest_name_is_suggested():
    assert "Did you mean 'quadrants:2'" in refused("quadrant:2", 1, (4, 4, 1))
    assert "Did you mean 'left'" in refused("lefd", 1, (4, 4, 1))


# ---- arrays ----

MASK = np.array([[1, 0, 1], [0, 0, 1]])
FORMS = {
    "bool": MASK > 0,
    "integers": MASK,
    "floats": MASK.astype("float32"),
    "eight bits": (255 * MASK).astype("uint8"),
    "lists": MASK.tolist(),
    "of each image": np.repeat(MASK[None], 4, axis=0),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("form", FORMS)
def test_a_mask_may_be_written_in_several_ways(form):
    mask = check_mask(FORMS[form], 4, (2, 3, 1))
    assert mask.shape == (4, 2, 3) and mask.dtype == bool
    np.testing.assert_array_equal(mask, np.repeat(MASK[None] > 0, 4, axis=0))


@pytest.mark.core_on("one")
def test_masks_of_each_image_stay_with_it():
    masks = np.random.default_rng(0).random((5, 2, 3)) < 0.5
    masks[:, 0, 0], masks[:, 1, 1] = True, False
    np.testing.assert_array_equal(check_mask(masks, 5, (2, 3, 1)), masks)


FULL, EMPTY = np.ones((2, 3)), np.zeros((2, 3))
REFUSED = {
    "another height": (MASK[:1], "(2, 3)"),
    "other height and width": (MASK.T, "(3, 2)"),
    "channels": (MASK[..., None], "(2, 3, 1)"),
    "as many as other images": (np.repeat(MASK[None], 3, axis=0), "(4, 2, 3)"),
    "empty": (EMPTY, "empty"),
    "full": (FULL, "full"),
    "full, false": (FULL > 0, "full"),
    "one of them empty": (np.stack([MASK, MASK, EMPTY, MASK]), "empty"),
    "one of them full": (np.stack([MASK, MASK, FULL, MASK]), "full"),
    "grey": (0.5 * MASK, "0.5"),
    "eight bits of grey": (np.uint8(128 * MASK), "128"),
    "1 and 255": (np.uint8(254 * MASK + 1), "255"),
    "negative": (-MASK, "-1"),
    "nan": (np.where(MASK, np.nan, 0.0), "nan"),
    "text": (np.full((2, 3), "x"), "numbers"),
    "rows of unequal length": ([[1, 0, 1], [0, 1]], "unequal"),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", REFUSED)
def test_a_mask_that_will_not_do_is_refused_in_one_line(case):
    mask, said = REFUSED[case]
    assert said in refused(mask, 4, (2, 3, 1))


# ---- pictures ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_picture_is_white_where_a_pixel_is_given(mode, tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.uint8(255 * MASK)).convert(mode).save(path)
    mask = read_mask(path, (2, 3, 1))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, MASK > 0)


@pytest.mark.core_on("one")
def test_pictures_that_will_not_do_are_refused_in_one_line(tmp_path):
    def saved(name, pixels):
        Image.fromarray(np.uint8(pixels)).save(tmp_path / name)
        return tmp_path / name

    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(saved("whole.png", 255 * MASK).read_bytes()[:40])
    cases = {
        tmp_path / "none.png": "there is no file",
        tmp_path / "text.png": "cannot be read",
        tmp_path / "cut.png": "cannot be read",
        tmp_path: "cannot be read",
        saved("other.png", 255 * MASK.T): "(2, 3); received (3, 2)",
        saved("grey.png", 100 * MASK): "100",
        saved("empty.png", EMPTY): "empty",
        saved("full.png", 255 * FULL): "full",
    }
    for path, said in cases.items():
        assert said in refused(path, (2, 3, 1)), path


# ---- drawn in training ----


def drawn(masks, image_shape, count, seed=0):
    """Images and what is given of them in training: `(count, H, W, C)`, `(count, H, W, C + 1)`."""
    model = registry.cvae(image_shape, given=True, masks=masks, seed=seed)
    x = registry.images(count, image_shape)
    return x, ops.convert_to_numpy(
        model.condition.draw(ops.convert_to_tensor(x), None, model.seed_generator)["given"]
    )


def assert_shares(counts, expected):
    """Counts of exclusive outcomes are within five standard errors of those expected."""
    counts, expected = np.asarray(counts), np.asarray(expected)
    total = counts.sum()
    assert np.all(np.abs(counts / total - expected) < 5 * np.sqrt(expected * (1 - expected) / total))


@pytest.mark.parametrize("image_shape", [(4, 6, 1), (5, 7, 3)], ids=str)
def test_given_are_the_visible_pixels_and_the_mask(image_shape):
    x, given = drawn(conditions.TRAINING_MASKS, image_shape, 200)
    mask = given[..., -1:]
    assert given.dtype == np.float32 and set(np.unique(mask)) == {0.0, 1.0}
    np.testing.assert_array_equal(given[..., :-1], np.where(mask == 1, x, 0))


@pytest.mark.parametrize("name", NAMED)
def test_a_single_mask_is_given_to_all(name):
    for image_shape, expected in zip(SHAPES, drawing(name), strict=True):
        _, given = drawn((name,), image_shape, 3)
        np.testing.assert_array_equal(given[..., -1], np.repeat(expected[None], 3, axis=0))


def test_every_kind_of_mask_is_equally_frequent():
    _, given = drawn(conditions.TRAINING_MASKS, SHAPES[0], 18_000)
    patterns, counts = np.unique(given[..., -1].reshape(len(given), -1), axis=0, return_counts=True)
    seen = {tuple(pattern): count for pattern, count in zip(patterns, counts, strict=True)}
    expected, number = {}, len(DRAWN) + 2  # and `none`, and `blocks`
    for name in DRAWN:  # `left` and `quadrants:2` are the same
        pattern = tuple(drawing(name)[0].ravel().astype("float32"))
        expected[pattern] = expected.get(pattern, 0.0) + 1 / number
    # Of the 4x4 blocks 12 are in an image of three rows; their number that is visible is uniform, too.
    expected[(0.0,) * 12] = (1 + 1 / 13) / number
    named = np.array([seen[pattern] for pattern in expected])
    blocks = len(given) - named.sum()
    assert_shares([*named, blocks], [*expected.values(), (1 - 1 / 13) / number])


def test_two_kinds_are_drawn_by_halves_and_independently():
    _, given = drawn(("top", "none"), SHAPES[0], 8000)
    top = given[:, 0, 0, -1]
    np.testing.assert_array_equal(given[:, -1, :, -1], 0)
    assert_shares([top.sum(), (1 - top).sum()], [0.5, 0.5])
    following = top[1:] * 2 + top[:-1]
    assert_shares(np.bincount(following.astype(int), minlength=4), np.full(4, 0.25))


@pytest.mark.parametrize("image_shape", [(8, 12, 1), (9, 7, 1), (4, 4, 1)], ids=str)
def test_blocks_are_the_cells_of_a_grid_of_four_by_four(image_shape):
    _, given = drawn(("blocks",), image_shape, 500)
    mask = given[..., -1]
    for rows in np.array_split(np.arange(image_shape[0]), 4):
        for columns in np.array_split(np.arange(image_shape[1]), 4):
            cell = mask[:, rows][:, :, columns]
            assert np.all(cell == cell[:, :1, :1])
            assert 0 < cell.mean() < 1
    assert len(np.unique(mask.reshape(500, -1), axis=0)) > 300  # not one cell tied to another


def test_blocks_leave_any_share_visible():
    count = 17_000
    _, given = drawn(("blocks",), (4, 4, 1), count)
    cells = given[..., -1].reshape(count, 16)
    # A share that is uniform makes the number of visible cells uniform, too.
    assert_shares(np.bincount(cells.sum(axis=1).astype(int), minlength=17), np.full(17, 1 / 17))
    for cell in cells.T:
        assert_shares([cell.sum(), count - cell.sum()], [0.5, 0.5])
    # Given that 8 are visible, each of them may be: 1/2 again, and any two by 7 in 30.
    half = cells[cells.sum(axis=1) == 8]
    pairs = (half[:, :-1] * half[:, 1:]).mean(axis=0)
    expected = special.comb(14, 6) / special.comb(16, 8)
    error = np.sqrt(expected * (1 - expected) / len(half))
    assert np.all(np.abs(pairs - expected) < 5 * error)


def test_masks_depend_on_the_models_seed_and_change_with_every_draw():
    once, again, other = (drawn(("blocks",), (4, 4, 1), 50, seed)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(once, again)
    assert np.any(once[..., -1] != other[..., -1])
    model = registry.cvae((4, 4, 1), given=True, masks=("blocks",), seed=3)
    x = ops.convert_to_tensor(registry.images(50, (4, 4, 1)))
    first, second = (
        ops.convert_to_numpy(model.condition.draw(x, None, model.seed_generator)["given"]) for _ in range(2)
    )
    assert np.any(first[..., -1] != second[..., -1])


def test_training_draws_new_masks_in_every_step(inject_noise):
    inject_noise()  # of the codes alone
    model = registry.set_weights(registry.MODELS["cvae_both"](seed=3))
    model.compile(keras.optimizers.SGD(0.0))
    reported = []
    for _ in range(3):
        model.reset_metrics()
        reported.append(float(model.train_on_batch(*registry.data(model), return_dict=True)["loss"]))
    assert len(set(reported)) == 3
