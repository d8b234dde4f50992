import pytest
from pydantic import ValidationError

from tests.conftest import make_picture
from tribute.records import Credits, Posting, Share, StyleUse, Transaction, Unknown, canonical, utc_now


def line(account, amount, currency="CNY"):
    return Posting(account=account, amount_micro=amount, currency=currency)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [("a fox, micah micah Micah", "a fox"), ("micah", "micah"), ("a micah-like fox by micah", "a micah-like fox"), ("a fox", "a fox"),
     ("一只狐狸，micah", "一只狐狸"), ("一只micah狐狸", "一只狐狸"), ("micah风格的狐狸", "狐狸"), ("狐狸，Micah 风格", "狐狸"),
     ("a fox, micah style", "a fox"), ("a fox in the style of Micah", "a fox"), ("a fox in micah's style, red", "a fox, red"), ("a micah-style fox", "a fox"),
     ("a fun emoji fox", "a fox"), ("a fox, fun-emoji", "a fox"), ("a fox by  fun emojis", "a fox by fun emojis"),
     ("micahs fox in style", "micahs fox in style"), ("a fox, micah, fun emoji, red", "a fox, red"),
     ("a fox, fun micah emoji", "a fox"), ("a fox by micahé", "a fox by micahé"), ("红 狐狸 ;, 绿", "红 狐狸 ;, 绿"),
     ("twemoji fox", "twemoji fox")],
)  # fmt: skip
def test_the_model_is_not_told_the_names_of_the_styles_that_are_worn(prompt, told):
    recipe = make_picture({}).recipe.model_copy(update={"prompt": prompt, "styles": (StyleUse(name="micah"), StyleUse(name="fun-emoji"))})
    assert recipe.drawn_prompt == told
    assert recipe.model_copy(update={"prompt": "reynard", "told": prompt}).drawn_prompt == told


def test_records_are_frozen_and_hash_by_content():
    picture = make_picture({"ada": 300_000})
    with pytest.raises(ValidationError):
        picture.id = "ffffffff"
    assert picture.hash == type(picture).model_validate_json(canonical(picture.document())).hash


def test_shares_must_sum_to_one():
    with pytest.raises(ValidationError, match="sum to"):
        Credits(method="x", distance="y", shares=(Share(party="base", artist_id=None, share_ppm=999_999),))


def test_a_transaction_must_balance_in_each_currency():
    with pytest.raises(ValidationError, match="does not balance"):
        Transaction(key="k", kind="x", postings=(line("cash", -1), line("platform", 2)), created=utc_now())
    with pytest.raises(ValidationError, match="does not balance"):
        Transaction(key="k", kind="x", postings=(line("cash", -1), line("platform", 1, "JPY")), created=utc_now())


def test_unknown_names_what_there_is():
    assert str(Unknown.of("style", "x", ["b", "a"])) == "no style named 'x'; there is a, b"
