#!/usr/bin/env python3
"""A file as a C array: embed.py FILE NAME HEADER OUT. HEADER declares NAME and NAME_n."""
import sys
from pathlib import Path

source, name, header, out = sys.argv[1:]
data = Path(source).read_bytes()
lines = [", ".join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
Path(out).write_text(f'#include "{header}"\n\nconst unsigned char {name}[] = {{\n\t' + ",\n\t".join(lines) +
                     f"\n}};\nconst size_t {name}_n = sizeof({name});\n")
