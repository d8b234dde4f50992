"""The Chinese of the web pages' words; `words.py` joins it with the command line's. A test holds every word on a page to be here."""

PAGES_ZH = {
    "A picture": "一张图片", "API keys": "API 密钥", "Account": "账户", "Add somebody": "添加用户", "All of your pictures": "你的全部图片", "All works": "一切正常",
    "Am I in it?": "里面有我吗？",
    "Any file: its signature, its watermark, its label, and who is credited. Nothing is stored.": "任意文件：它的签名、水印、标识，以及功劳归谁。不会保存任何内容。",
    "Artists": "艺术家",
    "By how they look, among the works of its styles and the base. Shares are not paid by it.":
        "仅按外观比较，范围是所用风格和基础模型的作品。份额不以此支付。",
    "Cancel": "取消", "Change it": "修改", "Check": "检查", "Check a picture": "检查图片", "Close the week": "结算本周", "Create": "创作", "Download": "下载",
    "Draw over a picture": "在一张图片上重画", "Draw something else": "画点别的", "Earnings": "收入",
    "Ends your consent to every use from the next picture on, deletes your styles, keeps what you are owed. You are handed a signed proof.":
        "从下一张图片起终止你对一切用途的同意，删除你的风格，保留应付给你的款项。你会得到一份签名证明。",
    "Explore": "发现", "Find pictures like it": "查找相似图片",
    "For programs: OpenAI’s Images API at /v1, A1111’s at /sdapi/v1, the studio’s own at /api/v1. What a program fetches it keeps, and pays.":
        "供程序使用：OpenAI 图像接口在 /v1，A1111 接口在 /sdapi/v1，工作室自己的接口在 /api/v1。程序取走的图片视为保留，并付费。",
    "Give a picture of yours. You see the works that the studio learned from that look most like it, and whose they are. It is not stored.":
        "给出你的一张图片，就能看到工作室学习过的作品中与它最相似的，以及它们属于谁。图片不会被保存。",
    "Give it back, and have the money back": "退回图片并退款", "Go on": "继续", "Guidance": "引导强度", "Health": "运行状况", "History": "历史", "How many": "数量",
    "In the prompt too: --ar 3:2 --seed 7 --no grass --chaos 20 --stylize 150": "也可写在提示词里：--ar 3:2 --seed 7 --no 草 --chaos 20 --stylize 150",
    "Its credit is still worked out; it can be kept when that is done.": "它的贡献仍在计算中，算完之后即可保留。",
    "Jobs": "任务", "Kept pictures": "保留的图片", "Lately": "最近", "Leave": "退出", "Leave, and hand me the proof": "退出并给我证明", "Look": "查找",
    "Made from it": "由它衍生", "Message": "消息", "Model": "模型", "More": "更多", "My works": "我的作品", "Name": "名字", "New key": "新建密钥",
    "Making pictures is free. Keeping one pays its artists from money that the operator credits you with.":
        "创作图片免费。保留一张图片时，会用运营者为你充值的钱支付给它的艺术家。",
    "No job waits.": "没有等待的任务。", "No picture was reported.": "没有图片被举报。",
    "No work among them is this picture. These look most like it.": "其中没有这张图片。以下作品与它最相似。",
    "Nobody has published such a picture yet.": "还没有人发布过这样的图片。", "Not in it": "不要出现", "Drawn as": "当作", "Led away from a near copy": "避开了近似的副本", "noise on the words:": "提示词上的噪声：", "in the first part of the steps:": "仅在最初的步骤：", "half told as": "一半当作", "in place of seed": "代替种子",
    "This may be a near copy of a work that the model knows by heart.": "这可能是模型熟记的某件作品的近似副本。", "Nothing was drawn yet.": "还没有画过任何图片。", "Older": "更早",
    "Operator": "运营", "Pages": "页面", "Password": "密码", "Password, 10 characters or more": "密码（至少 10 个字符）", "People": "用户",
    "Point at a word to see where it was looked at. It says which words drew what, not whose works; nobody is paid by it.":
        "指向一个词，看它影响了哪里。它说明哪些词画了什么，而不是谁的作品；不以此付款。",
    "Price of a kept picture, for pictures made from now on": "保留一张图片的价格（从现在起创作的图片）", "Prices": "价格", "Publish": "发布",
    "Recipe and seal": "配方与封印", "Remix": "混编", "Remix: draw over it by other words": "混编：用别的话在它上面重画", "Report": "举报", "Reports": "举报",
    "Revoke": "撤销", "Search": "搜索", "Seed": "种子", "Set the price": "设定价格", "Settlement": "结算", "Shut out": "停用", "Sign in": "登录",
    "Sign out": "退出登录", "Sign up": "注册", "Sign up to keep it": "注册后即可保留", "Size": "尺寸", "Skip to the content": "跳到正文",
    "So many are drawn, the one most like your words is kept; with a seed, one": "每张画这么多次，保留最符合描述的一次；给定种子时只画一次",
    "Something is down": "有部分停止工作", "Steps": "步数", "Strength": "强度", "Style weight": "风格权重", "Styles: whose hand draws it": "风格：由谁的手来画",
    "Take it back": "取消发布", "Terms": "条款", "Thank you": "谢谢", "The operator will look at it.": "运营者会查看。", "That did not work": "没有成功",
    "The first statement comes when a week is settled.": "一周结算后会有第一份结算单。", "The new one": "新密码", "The old one": "旧密码",
    "The sealed file": "封印文件", "To be sure, write": "为确认，请输入", "Top up": "充值", "Tries for each": "每张尝试次数", "Upscale": "放大", "Vary a little": "小幅变化", "Vary a lot": "大幅变化",
    "What is it for?": "用途", "What is wrong with it?": "有什么问题？", "What to do with it": "可以做什么", "Which word drew what?": "哪个词画了什么？",
    "Whose works the studio learned from, and what each allows. A use that is not allowed does not happen.":
        "工作室学习过谁的作品，以及每个人允许什么。不被允许的用途不会发生。",
    "This picture is a near copy of the first of these works, which the model knows by heart: the licence of that work holds.":
        "这张图片与以下第一幅作品几乎相同：模型把它记住了。该作品自己的许可仍然有效。",
    "Works": "作品", "Works that look most like it": "与它最相似的作品", "Works may teach the base model.": "作品可用于训练基础模型。",
    "A style may be learned from the works and worn in pictures; it is paid.": "可以从作品中学习风格并用于图片；会付费。",
    "People may draw over the works.": "人们可以在作品上重画。",
    "Yes: this very picture, or a near copy of it, is among them.": "是的：这张图片本身或近似的副本就在其中。", "You keep it.": "你已保留。",
    "Your new key; it is shown this once:": "你的新密钥，只显示这一次：", "Your pictures": "你的图片", "allowed": "允许", "amount": "金额", "any": "随机",
    "being drawn": "正在绘制", "change": "更改", "decision": "决定", "drawn over": "重画", "earned, not settled yet": "已赚取，尚未结算",
    "every style": "所有风格", "hide": "隐藏", "its own": "默认", "job": "任务", "keep": "保留", "likeness": "相似度", "made from": "来源", "model": "模型",
    "most liked": "最受喜欢", "newest first": "最新", "nothing yet": "暂无", "or by a picture": "或者用图片", "order": "排序", "party": "参与方",
    "person": "用户", "progress": "进度", "prompt": "提示词", "published": "已发布", "reason": "理由", "revoked": "已撤销", "role": "角色",
    "shut out": "已停用", "stopping": "正在停止", "teach the base": "训练基础模型", "the studio keeps": "工作室保留", "to be paid out": "待支付",
    "variation": "变化", "week": "周", "words in the prompt": "提示词中的词", "workers": "工作进程", "worn as a style": "作为风格",
    "queued": "排队中", "running": "进行中", "done": "完成", "failed": "失败", "cancelled": "已取消", "guest": "访客", "creator": "创作者", "operator": "运营者",
    "steps": "步数", "guidance": "引导强度", "size": "尺寸", "made": "创作时间", "pixels": "像素", "file": "文件", "snapshot": "快照", "uncertain": "不确定",
    "unknown-base": "未知的基础模型", "intact": "完好", "signed": "他人签名", "changed": "已被改动", "marked": "仅有水印", "labelled": "仅有标识",
    "name and password do not fit; try again": "名字与密码不符，请重试", "there is nothing here": "这里什么也没有", "sign in first": "请先登录",
    "something went wrong in the studio; nothing was charged": "工作室出了问题；没有收费",
    "verdict intact": "由本工作室签名，自那以后未被改动。", "verdict signed": "签名完好，但不是本工作室的证书。", "verdict changed": "签名之后被改动过。",
    "verdict marked": "签名已不在，水印仍指明它是哪张图片。", "verdict labelled": "只有未签名的标识。", "verdict nothing": "没有任何痕迹说明它出自这里。",
}  # fmt: skip
# English that is not its own key.
PAGES_EN = {
    "verdict intact": "signed by this studio, and unchanged since.", "verdict signed": "unchanged, but signed with another certificate than this studio's.",
    "verdict changed": "it was changed after it was signed.", "verdict marked": "the signature is gone; the watermark still names the picture.",
    "verdict labelled": "only unsigned labels are left.", "verdict nothing": "nothing in it says that it was made here.", "unknown-base": "unknown base",
    "base": "base (works of the commons)",
}  # fmt: skip
