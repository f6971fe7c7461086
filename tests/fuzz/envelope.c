/* What peers send: an envelope that is understood packs to bytes that are understood the same way. */
#include <stdint.h>
#include <stdlib.h>

#include "svc/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct msg *m, *again;
	struct buf first, second;
	if (msg_unpack((struct str){ (const char *)p, n }, &m, NULL) < 0)
		return 0;
	buf_init(&first, 0);
	buf_init(&second, 0);
	if (msg_pack(m, &first) < 0 || msg_unpack(buf_str(&first), &again, NULL) < 0)
		abort();
	if (again->type != m->type || again->seq != m->seq || msg_pack(again, &second) < 0 ||
	    !str_eq(buf_str(&first), buf_str(&second)))
		abort();
	msg_free(m);
	msg_free(again);
	buf_release(&first);
	buf_release(&second);
	return 0;
}
