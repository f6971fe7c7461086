#!/usr/bin/env python3
"""Makes data/texts.json, data/embeddings.f16 and data/normalize.fnv from the reference implementation.

usage: make_reference.py MODEL_DIR      (pip install sentence-transformers; MODEL_DIR as scripts/get-model makes it)

texts.json      [{"text": …, "ids": […]}, …]: 100 texts with the ids that the model runs ([CLS] and [SEP] included)
embeddings.f16  100 rows of 384 little-endian IEEE halves: unit vectors
normalize.fnv   FNV-1a over (code point, what the normalizer makes of it) of all of Unicode, in hexadecimal
"""
import json
import pathlib
import random
import re
import sys

import numpy
from sentence_transformers import SentenceTransformer
from tokenizers import normalizers

HERE = pathlib.Path(__file__).resolve().parent / "data"

PLAIN = r"""The grid operator called for a reduction of 40 MW.
Hello, world!
a
What is the settlement price at HB_NORTH for the 15-minute interval ending 14:45?
Bitcoin miners curtailed load when real-time prices exceeded $300/MWh.
How do I rotate an API key?
GPU utilisation fell from 97.5% to 3% in under 100 ms.
She sells seashells by the seashore; he doesn't.
e-mail: ops@example.com, tel. +1 (555) 010-9999
https://example.com/path?query=1&other=two#fragment
int main(void) { return printf("%d\\n", x[i] ^ 0xff); }
SELECT id, price FROM offers WHERE region = 'west' ORDER BY price DESC LIMIT 10;
ALL CAPS SHOUTING ABOUT TRANSFORMERS
MiXeD cAsE tExT
snake_case_identifier camelCaseIdentifier kebab-case-identifier
antidisestablishmentarianism floccinaucinihilipilification
1234567890 3.14159265358979 1e-9 0x7fffffff
naïve café résumé façade coöperate
Ærøskøbing Łódź Gdańsk Škoda Đorđe Þórr Straße GROẞ
İstanbul'da IŞIK ılık
crème brûlée à la carte, s'il vous plaît
El Niño año mañana ¿Qué? ¡Olé!
Übergrößenträger über Äpfel
Việt Nam: Tiếng Việt có nhiều dấu
ελληνικά Ελλάδα ΣΊΣΥΦΟΣ ὀξεῖα ᾳ
Привет, мир! Ёлка и йод
українська їжак ґанок
שלום עולם
שָׁלוֹם
مرحبا بالعالم
السَّلامُ عَلَيْكُم
नमस्ते दुनिया
বাংলা ভাষা
தமிழ் மொழி
ภาษาไทย
한국어 텍스트입니다
日本語のテキスト
ガギグゲゴ パピプペポ がぎぐ
東京都 and 大阪府
中文文本测试,包括标点。
混合 mixed 文字 text 和 numbers 123
豈更車 compatibility ideographs
😀 😃 emoji test 🚀🔥
👨‍👩‍👧‍👦 family and flag 🇺🇸
thumbs up 👍🏽 with skin tone
“Curly quotes” — and dashes – and ellipsis…
ﬁne ﬂow ligatures ﬃ
ℌ𝔢𝔩𝔩𝔬 mathematical 𝐛𝐨𝐥𝐝 letters
½ ¼ ² ³ ™ © ® € £ ¥ ₿
full width LETTERS １２３
½-inch pipe, 90° bend, ±5 µm
x ≤ y ≥ z ≠ w ∞ ∑ ∫ √
→ arrows ← ↑ ↓ ⇒
   leading and trailing blanks\u0020\u0020\u0020
tabs\tand\nnew lines\r\nmixed
non\u00a0breaking\u2003em\u3000ideographic spaces
zero\u200bwidth\u200djoiners\ufeffand BOM
soft\u00adhyphen and \u200e marks
combining e\u0301 o\u0308 n\u0303 decomposed
control \u0001\u0007 characters \u007f here
[CLS] written [SEP] out [MASK] tokens [PAD]
[cls] [Sep] lower-case brackets [UNK]
...!!!???,,,;;;:::
-
!
()[]{}<>|\\/~`@#$%^&*_+=
don't can't won't it's we're they've I'd you'll
O'Neill McDonald's rock'n'roll
A.B.C. U.S.A. Ph.D. e.g. i.e.
10,000.50 1'000'000 1_000
ᄒ\u1161ᆫ jamo
Ǆ ǅ ǆ Ǉ digraphs
ﷺ ligature
𐐀𐐁 Deseret and 𝄞 clef
\u0378 unassigned \ue000 private
ꙮ multiocular ⁊ tironian
"""


def texts():
    rng = random.Random(20240229)
    out = [t.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") for t in PLAIN.split("\n")[:-1]]
    out = [re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m.group(1), 16)), t) for t in out]
    out += ["", " ", "\n\t", "\u200b", "x" * 99, "y" * 100, "z" * 101, "q" * 5000]
    words = ("power price market battery miner inference switch latency ramp reserve capacity transformer feeder hash "
             "token embedding queue the a of and is was with from under over between quickly slowly not never").split()
    for n in (12, 30, 60, 120, 200, 253, 254, 255, 300, 600):
        out.append(" ".join(rng.choice(words) for _ in range(n)))
    out.append("é" * 300)
    out.append("汉字" * 300)
    out.append("unbelievable " * 400)
    out.append(". " * 300)
    while len(out) < 100:
        out.append(" ".join(rng.choice(words) for _ in range(rng.randrange(4, 25))).capitalize() + ".")
    assert len(out) == 100, len(out)
    return out


def normalize_digest():
    norm = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=None, lowercase=True)
    h = 0xCBF29CE484222325
    for cp in range(1, 0x110000):
        if 0xD800 <= cp < 0xE000:
            continue
        for b in [cp] + [ord(x) for x in norm.normalize_str("a" + chr(cp) + "b")[1:-1]]:
            h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def main():
    HERE.mkdir(exist_ok=True)
    model = SentenceTransformer(sys.argv[1], device="cpu")
    assert model.max_seq_length == 256
    all_texts = texts()
    rows, vectors = [], []
    for t in all_texts:
        ids = model.tokenize([t])["input_ids"][0].tolist()
        rows.append({"text": t, "ids": ids})
        vectors.append(model.encode([t], normalize_embeddings=True)[0])
    (HERE / "texts.json").write_text(json.dumps(rows, ensure_ascii=True, separators=(",", ":")).replace('},{', '},\n{'))
    numpy.stack(vectors).astype("<f2").tofile(HERE / "embeddings.f16")
    (HERE / "normalize.fnv").write_text(f"{normalize_digest():016x}\n")


main()
