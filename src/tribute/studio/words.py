"""The words on screens, in English and 简体中文. English is the key; a test holds every key to have its Chinese."""

from __future__ import annotations

import locale
import os

from tribute.studio.pages_zh import PAGES_EN, PAGES_ZH

ZH = {
    "picture": "图片", "made by": "创作者", "share": "份额", "base": "基础模型（公共作品）", "unknown base": "未知的基础模型", "style": "风格",
    "price": "价格", "recipe": "配方", "seed": "种子", "word": "词", "area": "面积", "strength": "强度", "method": "方法", "paid": "已付",
    "already paid": "先前已付", "receipt": "收据", "statement": "结算单", "downloads": "下载", "due": "应付",
    "earned": "收入", "platform part": "平台部分", "brought forward": "上期结转", "carried forward": "结转下期", "artist": "艺术家",
    "balance": "余额", "account": "账户", "signature": "签名", "watermark": "水印", "label": "标识", "verdict": "结论", "licence": "许可",
    "works": "作品数", "withdrawn": "已撤回", "yes": "是", "no": "否", "drawing": "绘制", "crediting": "计算贡献", "sealing": "封印",
    "nothing is owed": "没有应付款", "proof": "证明", "notes": "说明", "id": "编号", "total": "合计",
    "Create a picture": "创作一张图片", "What should it show?": "想画什么？", "Draw": "开始绘制", "Styles": "风格",
    "Who made it": "谁创作了它",
    "Every picture is sealed, and its artists are paid when it is kept.": "每张图片都有封印；图片被保留时，艺术家会得到报酬。", "weight": "权重",
    "snapshot before": "先前的快照", "after": "之后", "adapter deleted": "已删除的适配器",
    "not made here, so not sealed": "不是在这里创作的，因此没有封印", "figure": "指标", "value": "数值", "target": "目标", "ceiling": "上限", "met": "达标",
    "Tribute": "致敬", "pending": "待计算", "credited": "已计算", "entries": "笔分录", "chain": "链", "published root": "已公布的根", "nothing": "无",
    "given back": "已退还", "earned this week": "本周收入", "state": "状态", "since": "起始", "use": "用途",
    "Amounts are in millionths of the smallest coin; what is less than one coin is carried forward, never lost.":
        "金额精确到最小货币单位的百万分之一；不足一个最小单位的部分结转下期，绝不丢失。",
    **PAGES_ZH,
}  # fmt: skip


def language() -> str:
    """`zh` where TRIBUTE_LANG or the locale says so, else `en`."""
    named = os.environ.get("TRIBUTE_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or "en"
    return "zh" if named.lower().startswith("zh") else "en"


def say(text: str, lang: str | None = None) -> str:
    """`text` in the reader's language."""
    return ZH.get(text, text) if (lang or language()) == "zh" else text


def say_page(text: str, lang: str) -> str:
    """`text` on a page: some words are said at more length there."""
    return ZH.get(text, text) if lang == "zh" else PAGES_EN.get(text, text)
