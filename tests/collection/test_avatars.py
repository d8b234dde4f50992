import pytest

from tribute.collection.avatars import colour_name, describe


@pytest.mark.parametrize(
    ("code", "name"),
    [("#0e0e0e", "black"), ("#ffffff", "white"), ("#afafaf", "grey"), ("#562306", "brown"), ("#e5d7a3", "blond"), ("#1d5dff", "blue"),
     ("#3eac2c", "green"), ("#ff543d", "red"), ("#fff500", "yellow")],
)  # fmt: skip
def test_colours_have_their_everyday_names(code, name):
    assert colour_name(code) == name


def test_attributes_are_told_in_both_languages():
    english, chinese = describe({"hairColor": "#0e0e0e", "hair": "long20", "glasses": "variant02", "mouth": "variant15"})
    assert english == "black hair, long hair, glasses"
    assert chinese == "黑色头发，长发，戴眼镜"
    assert describe({"eyes": "variant01"}) == ("", "")
