#include <stddef.h>
#include <stdint.h>

#include "base/panic.h"
#include "http/grpc_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct sum {
	size_t messages, bytes;
};

static bool count(void *arg, struct str msg)
{
	struct sum *s = arg;
	s->messages++;
	s->bytes += msg.n;
	return true;
}

/* The first byte chooses the cut; pieces or whole must give the same messages. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	size_t cut = p[0] % 31 + 1;
	p++;
	n--;
	struct sum whole = { 0 }, parts = { 0 };
	struct grpc_reader a, b;
	grpc_reader_init(&a, 4096);
	grpc_reader_init(&b, 4096);
	int ra = grpc_reader_feed(&a, p, n, count, &whole), rb = 0;
	for (size_t at = 0; at < n && rb == 0; at += cut)
		rb = grpc_reader_feed(&b, p + at, cut < n - at ? cut : n - at, count, &parts);
	must(ra == rb && whole.messages == parts.messages && whole.bytes == parts.bytes);
	grpc_reader_release(&a);
	grpc_reader_release(&b);
	int64_t ns;
	(void)!grpc_timeout_parse((struct str){ (const char *)p, n }, &ns);
	struct buf t;
	buf_init(&t, 0);
	grpc_message_decode(&t, (struct str){ (const char *)p, n });
	buf_release(&t);
	return 0;
}
