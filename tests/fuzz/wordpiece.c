#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/panic.h"
#include "infer/wordpiece.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char fixed[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nb\n##b\nab\n##ab\n,\n"
			    "cafe\n\xe4\xb8\xad\n##\xe4\xb8\xad\n";

static void encode(const struct wordpiece *w, struct str text)
{
	uint32_t ids[64];
	for (size_t max = 2; max <= 64; max += 31) {
		size_t got = wordpiece_encode(w, text, ids, max);
		must(got >= 2 && got <= max && ids[0] == w->cls && ids[got - 1] == w->sep);
		for (size_t i = 0; i < got; i++)
			must(ids[i] < w->n_vocab);
	}
}

/* The bytes are a text for a fixed vocabulary; and, cut at the first NUL, a vocabulary and a text for it. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct wordpiece w;
	struct str all = { (const char *)p, n }, vocab = all, text = all;
	if (wordpiece_init(&w, STR(fixed), NULL) == 0) {
		encode(&w, all);
		wordpiece_release(&w);
	}
	const uint8_t *cut = n ? memchr(p, 0, n) : NULL;
	if (cut) {
		vocab.n = (size_t)(cut - p);
		text = (struct str){ (const char *)cut + 1, n - vocab.n - 1 };
	}
	if (wordpiece_init(&w, vocab, NULL) == 0) {
		encode(&w, text);
		wordpiece_release(&w);
	}
	return 0;
}
