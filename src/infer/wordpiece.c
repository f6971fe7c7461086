#include "infer/wordpiece.h"

#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "base/utf8.h"

struct cp_range {
	uint32_t lo, hi;
};

/* Every stride-th code point of lo..hi moves by delta. */
struct cp_run {
	uint32_t lo, hi;
	uint32_t stride;
	int32_t delta;
};

struct cp_multi {
	uint32_t cp;
	uint32_t to[WORDPIECE_NORM_MAX];
};

#include "infer/unicode_table.inc"

/* The blocks that BERT takes for "Chinese characters": each is a word of its own. */
static const struct cp_range cjk_ranges[] = {
	{ 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },   { 0xf900, 0xfaff },   { 0x20000, 0x2a6df },
	{ 0x2a700, 0x2b73f }, { 0x2b740, 0x2b81f }, { 0x2b920, 0x2ceaf }, { 0x2f800, 0x2fa1f },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct wordpiece_slot {
	uint64_t hash;
	uint32_t off;
	uint32_t n;  /* 0: free */
	uint32_t id;
};

static bool in_ranges(const struct cp_range *r, size_t n, uint32_t cp)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (cp < r[mid].lo)
			hi = mid;
		else if (cp > r[mid].hi)
			lo = mid + 1;
		else
			return true;
	}
	return false;
}

static const struct cp_run *find_run(uint32_t cp)
{
	size_t lo = 0, hi = COUNT(single_runs);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (cp < single_runs[mid].lo)
			hi = mid;
		else if (cp > single_runs[mid].hi)
			lo = mid + 1;
		else
			return (cp - single_runs[mid].lo) % single_runs[mid].stride ? NULL : &single_runs[mid];
	}
	return NULL;
}

static const struct cp_multi *find_multi(uint32_t cp)
{
	size_t lo = 0, hi = COUNT(multi_maps);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (cp == multi_maps[mid].cp)
			return &multi_maps[mid];
		if (cp < multi_maps[mid].cp)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

/* Hangul syllables decompose by arithmetic (Unicode 3.12). */
static size_t hangul(uint32_t cp, uint32_t to[WORDPIECE_NORM_MAX])
{
	uint32_t s = cp - 0xac00, t = s % 28;
	to[0] = 0x1100 + s / 588;
	to[1] = 0x1161 + s % 588 / 28;
	to[2] = 0x11a7 + t;
	return t ? 3 : 2;
}

size_t wordpiece_normalize(uint32_t cp, uint32_t to[WORDPIECE_NORM_MAX])
{
	to[0] = cp;
	if (cp < 0x80) {
		if (cp >= 'A' && cp <= 'Z')
			to[0] = cp + 32;
		else if (cp == '\t' || cp == '\n' || cp == '\r')
			to[0] = ' ';
		return cp >= 0x20 ? cp != 0x7f : to[0] == ' ';
	}
	if (cp >= 0xac00 && cp <= 0xd7a3)
		return hangul(cp, to);
	if (in_ranges(drop_ranges, COUNT(drop_ranges), cp))
		return 0;
	if (in_ranges(blank_ranges, COUNT(blank_ranges), cp)) {
		to[0] = ' ';
		return 1;
	}
	const struct cp_run *r = find_run(cp);
	if (r) {
		to[0] = (uint32_t)((int64_t)cp + r->delta);
		return 1;
	}
	const struct cp_multi *m = find_multi(cp);
	if (!m)
		return 1;
	size_t n = 0;
	while (n < WORDPIECE_NORM_MAX && m->to[n]) {
		to[n] = m->to[n];
		n++;
	}
	return n;
}

static uint64_t hash_step(uint64_t h, char c)
{
	return (h ^ (uint8_t)c) * 0x100000001b3u; /* FNV-1a */
}

#define HASH_START 0xcbf29ce484222325u

/* FNV's low bits are weak; the slot comes from a mix of all of them. */
static size_t slot_of(const struct wordpiece *w, uint64_t hash)
{
	return (size_t)((hash ^ hash >> 32) * 0x9e3779b97f4a7c15u >> 20) & (w->n_slots - 1);
}

static int64_t find(const struct wordpiece *w, uint64_t hash, const char *p, size_t n)
{
	for (size_t i = slot_of(w, hash); w->slots[i].n; i = (i + 1) & (w->n_slots - 1)) {
		const struct wordpiece_slot *s = &w->slots[i];
		if (s->hash == hash && s->n == n && memcmp(w->vocab + s->off, p, n) == 0)
			return s->id;
	}
	return -1;
}

int64_t wordpiece_lookup(const struct wordpiece *w, struct str entry)
{
	uint64_t h = HASH_START;
	for (size_t i = 0; i < entry.n; i++)
		h = hash_step(h, entry.p[i]);
	return entry.n ? find(w, h, entry.p, entry.n) : -1;
}

/* A repeated entry keeps its last id, as loaders of vocab.txt into a dictionary do. */
static void insert(struct wordpiece *w, struct str e, uint32_t id)
{
	uint64_t h = HASH_START;
	for (size_t i = 0; i < e.n; i++)
		h = hash_step(h, e.p[i]);
	size_t i = slot_of(w, h);
	while (w->slots[i].n) {
		struct wordpiece_slot *s = &w->slots[i];
		if (s->hash == h && s->n == e.n && memcmp(w->vocab + s->off, e.p, e.n) == 0)
			break;
		i = (i + 1) & (w->n_slots - 1);
	}
	w->slots[i] = (struct wordpiece_slot){ h, (uint32_t)(e.p - w->vocab), (uint32_t)e.n, id };
	if (e.n > w->longest)
		w->longest = (uint32_t)e.n;
}

static int load(struct wordpiece *w, size_t n, struct err *err)
{
	struct str rest = { w->vocab, n };
	while (rest.p && rest.n) {
		struct str line = str_split(&rest, '\n');
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n > WORDPIECE_ENTRY_BYTES_MAX)
			return err_set(err, HCP_ELIMIT, "vocab", "entry %u is longer than %u bytes", w->n_vocab,
				       WORDPIECE_ENTRY_BYTES_MAX);
		if (line.n)
			insert(w, line, w->n_vocab);
		w->n_vocab++;
	}
	static const char *const names[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
	uint32_t *const ids[] = { &w->pad, &w->unk, &w->cls, &w->sep, &w->mask };
	for (size_t i = 0; i < COUNT(names); i++) {
		int64_t id = wordpiece_lookup(w, str_of(names[i]));
		if (id < 0)
			return err_set(err, HCP_EPARSE, "vocab", "has no %s", names[i]);
		*ids[i] = (uint32_t)id;
	}
	return 0;
}

int wordpiece_init(struct wordpiece *ret, struct str vocab, struct err *err)
{
	size_t lines = 1;
	for (size_t i = 0; i < vocab.n; i++)
		lines += vocab.p[i] == '\n';
	if (lines > WORDPIECE_VOCAB_MAX || vocab.n > UINT32_MAX)
		return err_set(err, HCP_ELIMIT, "vocab", "more than %u entries", WORDPIECE_VOCAB_MAX);
	struct wordpiece w = { .n_slots = 16 };
	while (w.n_slots < lines * 2)
		w.n_slots *= 2;
	w.slots = mem_calloc(w.n_slots, sizeof(*w.slots));
	w.vocab = mem_dup(vocab.p, vocab.n);
	int rc = w.slots && w.vocab ? load(&w, vocab.n, err) : err_set(err, HCP_ENOMEM, "vocab", "no memory");
	if (rc < 0) {
		wordpiece_release(&w);
		return rc;
	}
	*ret = w;
	return 0;
}

void wordpiece_release(struct wordpiece *w)
{
	mem_free(w->slots);
	mem_free(w->vocab);
	*w = (struct wordpiece){ 0 };
}

/* The word being gathered: "##" goes in front of what follows the first piece, so two bytes are kept free. */
struct word {
	char text[2 + WORDPIECE_WORD_CHARS_MAX * 4];
	size_t n;       /* bytes after the first two */
	uint32_t chars; /* may pass the limit; bytes stop there */
};

struct sink {
	const struct wordpiece *w;
	uint32_t *ids;
	size_t n, max;
	struct word word;
};

static void put(struct sink *s, uint32_t id)
{
	if (s->n < s->max)
		s->ids[s->n++] = id;
}

/* Longest entry that starts at p (of n bytes); hashes grow byte by byte, then lookups go from long to short. */
static int64_t longest(const struct wordpiece *w, const char *p, size_t n, size_t min, size_t *ret_n)
{
	uint64_t hash[WORDPIECE_ENTRY_BYTES_MAX + 1];
	size_t cap = n < w->longest ? n : w->longest;
	hash[0] = HASH_START;
	for (size_t i = 0; i < cap; i++)
		hash[i + 1] = hash_step(hash[i], p[i]);
	for (size_t len = cap; len >= min; len--) {
		if (len < n && ((uint8_t)p[len] & 0xc0) == 0x80)
			continue; /* would end inside a character */
		int64_t id = find(w, hash[len], p, len);
		if (id >= 0) {
			*ret_n = len;
			return id;
		}
	}
	return -1;
}

static void end_word(struct sink *s)
{
	struct word *word = &s->word;
	size_t start = s->n, at = 2, end = 2 + word->n, len = 0;
	uint32_t chars = word->chars;
	word->n = 0;
	word->chars = 0;
	if (chars == 0)
		return;
	if (chars > WORDPIECE_WORD_CHARS_MAX) {
		put(s, s->w->unk);
		return;
	}
	while (at < end) {
		size_t from = at;
		if (at > 2) { /* the bytes before `at` are spent: the prefix may overwrite them */
			from = at - 2;
			memcpy(word->text + from, "##", 2);
		}
		int64_t id = longest(s->w, word->text + from, end - from, at - from + 1, &len);
		if (id < 0) { /* one part unknown makes the word unknown, even where the cut would hide it */
			s->n = start;
			put(s, s->w->unk);
			return;
		}
		put(s, (uint32_t)id);
		at = from + len;
	}
}

static void add_char(struct word *w, uint32_t cp)
{
	char *p = w->text + 2 + w->n;
	if (w->chars++ >= WORDPIECE_WORD_CHARS_MAX)
		return;
	if (cp < 0x80) {
		*p++ = (char)cp;
	} else if (cp < 0x800) {
		*p++ = (char)(0xc0 | cp >> 6);
		*p++ = (char)(0x80 | (cp & 63));
	} else if (cp < 0x10000) {
		*p++ = (char)(0xe0 | cp >> 12);
		*p++ = (char)(0x80 | (cp >> 6 & 63));
		*p++ = (char)(0x80 | (cp & 63));
	} else {
		*p++ = (char)(0xf0 | cp >> 18);
		*p++ = (char)(0x80 | (cp >> 12 & 63));
		*p++ = (char)(0x80 | (cp >> 6 & 63));
		*p++ = (char)(0x80 | (cp & 63));
	}
	w->n = (size_t)(p - (w->text + 2));
}

static bool is_punct(uint32_t cp)
{
	return in_ranges(punct_ranges, COUNT(punct_ranges), cp);
}

static void feed(struct sink *s, uint32_t cp)
{
	uint32_t to[WORDPIECE_NORM_MAX];
	bool alone = cp >= 0x3400 && in_ranges(cjk_ranges, COUNT(cjk_ranges), cp);
	if (alone)
		end_word(s);
	size_t n = wordpiece_normalize(cp, to);
	for (size_t i = 0; i < n; i++) {
		if (to[i] == ' ') {
			end_word(s);
		} else if (is_punct(to[i])) {
			end_word(s);
			add_char(&s->word, to[i]);
			end_word(s);
		} else {
			add_char(&s->word, to[i]);
		}
	}
	if (alone)
		end_word(s);
}

/* "[CLS]" and its like, written out in the text, are the tokens themselves. Returns the bytes taken, or 0. */
static size_t special(struct sink *s, const char *p, size_t n)
{
	const struct wordpiece *w = s->w;
	const struct {
		struct str name;
		uint32_t id;
	} all[] = { { STR("[PAD]"), w->pad }, { STR("[UNK]"), w->unk }, { STR("[CLS]"), w->cls },
		    { STR("[SEP]"), w->sep }, { STR("[MASK]"), w->mask } };
	for (size_t i = 0; i < COUNT(all); i++) {
		if (str_starts((struct str){ p, n }, all[i].name)) {
			end_word(s);
			put(s, all[i].id);
			return all[i].name.n;
		}
	}
	return 0;
}

size_t wordpiece_encode(const struct wordpiece *w, struct str text, uint32_t *ids, size_t max)
{
	must(max >= 2);
	struct sink s = { .w = w, .ids = ids, .n = 1, .max = max - 1 };
	ids[0] = w->cls;
	size_t at = 0;
	while (at < text.n && s.n < s.max) {
		uint32_t cp = 0;
		size_t len = text.p[at] == '[' ? special(&s, text.p + at, text.n - at) : 0;
		if (len) {
			at += len;
			continue;
		}
		len = utf8_decode(text.p + at, text.n - at, &cp);
		if (len)
			feed(&s, cp);
		at += len ? len : 1;
	}
	end_word(&s);
	ids[s.n++] = w->sep;
	return s.n;
}
