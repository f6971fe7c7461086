#ifndef HCP_INFER_WORDPIECE_H
#define HCP_INFER_WORDPIECE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * The tokenizer of BERT "uncased" models:
 *
 *   text ─▶ special tokens cut out ─▶ clean, NFD, no accents, lower case ─▶ words, punctuation and CJK apart
 *        ─▶ per word the longest vocabulary entry, then the longest "##" entry, … ─▶ ids
 *
 * (Devlin et al. 2018; agrees with the `tokenizers` library's BertNormalizer, BertPreTokenizer, WordPiece.)
 * Any bytes are accepted: what is not UTF-8 counts as U+FFFD and is dropped. Pure; read-only after init, so
 * threads may share it. Tokenizing allocates nothing and stops when `max` ids are found.
 */
#define WORDPIECE_WORD_CHARS_MAX 100u   /* a longer word is [UNK] */
#define WORDPIECE_VOCAB_MAX 1000000u    /* entries */
#define WORDPIECE_ENTRY_BYTES_MAX 512u  /* longest vocabulary entry */

struct wordpiece_slot;

struct wordpiece {
	struct wordpiece_slot *slots; /* owned; open addressing */
	size_t n_slots;               /* power of two */
	char *vocab;                  /* owned copy of the vocabulary text */
	uint32_t n_vocab;
	uint32_t longest;             /* bytes of the longest entry */
	uint32_t pad, unk, cls, sep, mask;
};

/*
 * vocab: one entry a line, id = line number from 0; must hold [PAD] [UNK] [CLS] [SEP] [MASK].
 * HCP_EPARSE, HCP_ELIMIT, HCP_ENOMEM.
 */
int wordpiece_init(struct wordpiece *ret, struct str vocab, struct err *err) MUST_CHECK;
void wordpiece_release(struct wordpiece *w);

/* Id of an entry, or -1. */
int64_t wordpiece_lookup(const struct wordpiece *w, struct str entry);

/*
 * Writes [CLS] ids… [SEP] to ids[max] (max >= 2), cutting the text to fit; returns how many were written (2 at
 * least). These are the tokens the model runs, hence the ones metered.
 */
size_t wordpiece_encode(const struct wordpiece *w, struct str text, uint32_t *ids, size_t max);

#define WORDPIECE_NORM_MAX 4u
/*
 * What the normalizer makes of one code point: 0 to 4 code points in to[]. White space gives one blank.
 * CJK ideographs come without the blanks that wordpiece_encode puts around them.
 */
size_t wordpiece_normalize(uint32_t cp, uint32_t to[WORDPIECE_NORM_MAX]);

#endif
