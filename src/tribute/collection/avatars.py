"""Captions for drawn avatars: from the attributes that the drawing code was given, in English and Chinese.

Attributes without a telling name ("variant07") say nothing and are left out.
"""

from __future__ import annotations

import colorsys
import re
from typing import Any

COLOURS_ZH = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "teal": "青色", "blue": "蓝色", "purple": "紫色", "pink": "粉色",
    "brown": "棕色", "black": "黑色", "grey": "灰色", "white": "白色", "blond": "金色",
}  # fmt: skip

# camel-case attribute value -> (English, Chinese)
PHRASES: dict[str, tuple[str, str]] = {
    "happy": ("happy", "开心"), "superHappy": ("very happy", "非常开心"), "sad": ("sad", "伤心"), "angry": ("angry", "生气"),
    "neutral": ("calm", "平静"), "hopeful": ("hopeful", "充满希望"), "confused": ("confused", "困惑"), "surprised": ("surprised", "惊讶"),
    "laughing": ("laughing", "大笑"), "laugh": ("laughing", "大笑"), "nervous": ("nervous", "紧张"), "smile": ("smiling", "微笑"),
    "smirk": ("smirking", "坏笑"), "frown": ("frowning", "皱眉"), "pucker": ("pouting", "噘嘴"), "agape": ("open mouth", "张嘴"),
    "openedSmile": ("big smile", "大笑"), "unimpressed": ("unimpressed", "无动于衷"), "gapSmile": ("gap-toothed smile", "缺牙的笑"),
    "openSad": ("crying", "哭"), "teethSmile": ("toothy smile", "露齿笑"), "awkwardSmile": ("awkward smile", "尴尬的笑"),
    "braces": ("smile with braces", "戴牙套的笑"), "kawaii": ("cute smile", "可爱的笑"), "cheery": ("cheerful eyes", "欢快的眼睛"),
    "starstruck": ("star eyes", "星星眼"), "winking": ("winking", "眨眼"), "wink": ("winking", "眨眼"), "wink2": ("winking", "眨眼"),
    "sleepy": ("sleepy", "困倦"), "wideSmile": ("big smile", "大笑"), "lilSmile": ("small smile", "浅笑"), "shy": ("shy", "害羞"),
    "cute": ("cute", "可爱"), "shout": ("shouting", "大喊"), "smileTeeth": ("toothy smile", "露齿笑"), "smileLol": ("laughing", "大笑"),
    "pissed": ("annoyed", "恼怒"), "drip": ("drooling", "流口水"), "tongueOut": ("tongue out", "吐舌头"), "kissHeart": ("kissing", "飞吻"),
    "sick": ("sick", "生病"), "faceMask": ("face mask", "戴口罩"), "tearDrop": ("teary", "含泪"), "crying": ("crying", "哭"),
    "love": ("heart eyes", "爱心眼"), "stars": ("star eyes", "星星眼"), "shades": ("sunglasses", "戴墨镜"), "glasses": ("glasses", "戴眼镜"),
    "sunglasses": ("sunglasses", "戴墨镜"), "closed": ("eyes closed", "闭着眼"), "closed2": ("eyes closed", "闭着眼"),
    "sleepClose": ("asleep", "睡着"), "sleep": ("asleep", "睡着"), "pacifier": ("pacifier", "奶嘴"), "surprise": ("surprised", "惊讶"),
    "bigSmile": ("big smile", "大笑"), "fonze": ("quiff", "飞机头"), "mrT": ("mohawk", "莫霍克发型"), "mrClean": ("bald", "光头"),
    "full": ("full hair", "浓密的头发"), "turban": ("turban", "头巾"), "pixie": ("pixie cut", "精灵短发"), "dougFunny": ("thin hair", "稀疏的头发"),
    "dannyPhantom": ("swept hair", "侧分发型"), "shortHair": ("short hair", "短发"), "mohawk": ("mohawk", "莫霍克发型"),
    "wavyBob": ("wavy bob", "波浪短发"), "bowlCutHair": ("bowl cut", "锅盖头"), "curlyBob": ("curly bob", "卷曲短发"),
    "straightHair": ("straight hair", "直发"), "braids": ("braids", "辫子"), "shavedHead": ("shaved head", "寸头"),
    "bunHair": ("hair bun", "发髻"), "froBun": ("afro bun", "爆炸头发髻"), "bangs": ("bangs", "刘海"),
    "halfShavedHead": ("half shaved head", "半边寸头"), "curlyShortHair": ("short curly hair", "短卷发"), "catEars": ("cat ears", "猫耳"),
    "sailormoonCrown": ("tiara", "头冠"), "clownNose": ("clown nose", "小丑鼻子"), "sleepMask": ("sleep mask", "眼罩"),
    "mustache": ("moustache", "小胡子"), "beard": ("beard", "胡子"), "scruff": ("stubble", "胡茬"), "hoop": ("hoop earrings", "圈形耳环"),
    "stud": ("earrings", "耳环"), "moustacheTwirl": ("curled moustache", "翘胡子"), "fullBeard": ("full beard", "络腮胡"),
    "longBeard": ("long beard", "长胡子"), "chinMoustache": ("goatee", "山羊胡"), "chin": ("chin beard", "山羊胡"),
    "turtleNeck": ("turtleneck", "高领衫"), "openJacket": ("jacket", "外套"), "dress": ("dress", "连衣裙"), "shirt": ("shirt", "衬衫"),
    "tShirt": ("t-shirt", "T恤"), "sideComed": ("side-combed hair", "侧分发型"), "undercut": ("undercut", "铲青发型"),
    "spiky": ("spiky hair", "刺猬头"), "bun": ("hair bun", "发髻"), "longStraight": ("long straight hair", "长直发"),
    "longWavy": ("long wavy hair", "长波浪发"), "shoulderHigh": ("shoulder-length hair", "及肩发"), "neckHigh": ("short hair", "短发"),
    "freckles": ("freckles", "雀斑"), "blush": ("blushing", "脸红"), "birthmark": ("birthmark", "胎记"), "afro": ("afro", "爆炸头"),
    "hatBeanie": ("beanie hat", "毛线帽"), "hatHip": ("hat", "帽子"), "hijab": ("hijab", "头巾"), "long": ("long hair", "长发"),
    "longCurly": ("long curly hair", "长卷发"), "bear": ("bear hat", "小熊帽"), "buns": ("hair buns", "双发髻"), "rage": ("furious", "愤怒"),
    "veryAngry": ("very angry", "非常生气"), "tired": ("tired", "疲倦"), "smileBig": ("big smile", "大笑"), "old": ("old", "年老"),
    "eyepatch": ("eye patch", "眼罩"), "medicalMask": ("face mask", "戴口罩"), "flowers": ("flowers in hair", "头上有花"),
    "hand": ("waving hand", "挥手"), "handPhone": ("holding a phone", "拿着手机"), "point": ("pointing", "指着"), "saturn": ("saturn shirt", "土星图案"),
    "galaxy": ("galaxy shirt", "星系图案"), "electric": ("lightning shirt", "闪电图案"),
}  # fmt: skip
# attributes whose mere presence is worth a word
PRESENT = {
    "glasses": ("glasses", "戴眼镜"), "beard": ("beard", "胡子"), "facialHair": ("beard", "胡子"), "mustache": ("moustache", "小胡子"),
    "earrings": ("earrings", "耳环"), "freckles": ("freckles", "雀斑"), "accessories": ("", ""),
}  # fmt: skip
COLOURED = {
    "hairColor": ("hair", "头发"), "topColor": ("hair", "头发"), "clothesColor": ("clothes", "衣服"), "shirtColor": ("shirt", "衣服"),
    "clothingColor": ("clothes", "衣服"), "bodyColor": ("clothes", "衣服"), "primaryBackgroundColor": ("background", "背景"),
}  # fmt: skip
ORDER = ("hair", "rearHair", "head", "top", "mood", "mouth", "eyes", "face", "accessories", "features", "clothes", "shirt", "gesture", "bodyIcon")


def colour_name(hex_rgb: str) -> str:
    """The everyday English name of "#rrggbb", by hue, lightness and saturation."""
    red, green, blue = (int(hex_rgb.lstrip("#")[at : at + 2], 16) / 255 for at in (0, 2, 4))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    hue *= 360
    if light < 0.13:
        return "black"
    if light > 0.93:
        return "white"
    if saturation < 0.14:
        return "grey"
    if 12 <= hue < 48 and light < 0.42:
        return "brown"
    if 20 <= hue < 52 and saturation < 0.6 and light >= 0.42:
        return "blond"
    for limit, name in ((14, "red"), (42, "orange"), (68, "yellow"), (160, "green"), (195, "teal"), (255, "blue"), (292, "purple"), (346, "pink")):
        if hue < limit:
            return name
    return "red"


def describe(attributes: dict[str, Any]) -> tuple[str, str]:
    """(English, Chinese) for one avatar, such as ("brown hair, glasses, smiling", "棕色头发，戴眼镜，微笑")."""
    said: list[tuple[str, str]] = []
    for key, (english, chinese) in COLOURED.items():
        value = str(attributes.get(key, ""))
        if re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            name = colour_name(value)
            said.append((f"{name} {english}", f"{COLOURS_ZH[name]}{chinese}"))
    for key in ORDER:
        value = str(attributes.get(key, ""))
        if key == "hair" and re.match(r"(long|short)\d", value):
            said.append(("long hair", "长发") if value.startswith("long") else ("short hair", "短发"))
        elif value in PHRASES:
            said.append(PHRASES[value])
        elif key == "mouth" and re.match(r"(happy|sad)\d", value):
            said.append(PHRASES[re.sub(r"\d+", "", value)])
    for key, words in PRESENT.items():
        if attributes.get(key):
            said.append(PHRASES.get(str(attributes[key]), words))
    unique = [pair for at, pair in enumerate(said) if pair[0] and pair not in said[:at]]
    return ", ".join(english for english, _ in unique), "，".join(chinese for _, chinese in unique)
