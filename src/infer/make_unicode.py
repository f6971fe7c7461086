#!/usr/bin/env python3
"""Writes unicode_table.inc: what BERT's uncased normalizer does to each code point.

The rule is: drop control, format and private-use characters; white space becomes a blank; decompose (NFD), drop
marks (category Mn), lower-case. Which characters are marks or punctuation depends on the version of Unicode, so the
rule is read off the library the published model is used with (`pip install tokenizers`), code point by code point.

usage: make_unicode.py > unicode_table.inc
"""
from tokenizers import normalizers, pre_tokenizers

NORMALIZER = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=None,
                                        lowercase=True)
SPLITTER = pre_tokenizers.BertPreTokenizer()


def normalized(c):
    return NORMALIZER.normalize_str("a" + c + "b")[1:-1]


def ranges(points):
    out = []
    for p in points:
        if out and out[-1][1] == p - 1:
            out[-1][1] = p
        else:
            out.append([p, p])
    return out


def runs(single):
    """(lo, hi, stride, delta): every stride-th code point of lo..hi moves by delta."""
    out = []
    for cp, to in sorted(single.items()):
        delta = to - cp
        if out:
            lo, hi, stride, d = out[-1]
            step = cp - hi
            if d == delta and step <= 2 and stride in (0, step):
                out[-1] = (lo, cp, step, d)
                continue
        out.append((cp, cp, 0, delta))
    return [(lo, hi, stride or 1, d) for lo, hi, stride, d in out]


def emit(name, ctype, rows):
    print(f"\nstatic const {ctype} {name}[] = {{")
    line = "\t"
    for row in rows:
        if len(line) + len(row) > 116:
            print(line.rstrip())
            line = "\t"
        line += row + ", "
    print(line.rstrip())
    print("};")


def main():
    drop, blank, punct, single, multi = [], [], [], {}, {}
    for cp in range(1, 0x110000):
        if 0xD800 <= cp < 0xE000:
            continue
        c = chr(cp)
        to = normalized(c)
        if to == "":
            drop.append(cp)
        elif to == " " and cp != 0x20:
            blank.append(cp)
        elif to != c and not 0xAC00 <= cp <= 0xD7A3:
            if len(to) == 1:
                single[cp] = ord(to)
            else:
                multi[cp] = [ord(x) for x in to]
        if [x[0] for x in SPLITTER.pre_tokenize_str("a" + c + "b")] == ["a", c, "b"]:
            punct.append(cp)
    print("/* Written by make_unicode.py; not for editing. */")
    emit("drop_ranges", "struct cp_range", [f"{{0x{a:x}, 0x{b:x}}}" for a, b in ranges(drop)])
    emit("blank_ranges", "struct cp_range", [f"{{0x{a:x}, 0x{b:x}}}" for a, b in ranges(blank)])
    emit("punct_ranges", "struct cp_range", [f"{{0x{a:x}, 0x{b:x}}}" for a, b in ranges(punct)])
    emit("single_runs", "struct cp_run", [f"{{0x{a:x}, 0x{b:x}, {s}, {d}}}" for a, b, s, d in runs(single)])
    assert max(len(v) for v in multi.values()) <= 4
    emit("multi_maps", "struct cp_multi",
         [f"{{0x{k:x}, {{{', '.join(hex(x) for x in v)}}}}}" for k, v in sorted(multi.items())])


main()
