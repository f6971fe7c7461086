#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bus/bus.h"
#include "os/file.h"

static char dir[64];

static int fresh_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/hcp-bus-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int drop(void *arg, const char *name)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
	return unlink(path);
}

static int remove_dir(void **state)
{
	file_list(dir, "", drop, dir, NULL);
	return rmdir(dir);
}

static void append(struct bus *bus, int first, int n)
{
	struct err err = { 0 };
	for (int i = first; i < first + n; i++) {
		char text[32];
		snprintf(text, sizeof(text), "event %d", i);
		struct bus_entry e = { .seq = (uint64_t)i, .topic = (uint16_t)(i % 3), .sender = 1, .payload = str_of(text) };
		assert_int_equal(bus_append(bus, &e, 1, &err), 0);
	}
}

/* Reads everything of mask from `from` on; returns the count and checks order. */
static int read_all(struct bus *bus, uint64_t from, uint64_t mask)
{
	struct bus_rec *rec[100];
	struct err err = { 0 };
	int total = 0, n;
	uint64_t last = 0;
	while ((n = bus_read(bus, from, mask, 100, rec, &from, &err)) > 0) {
		for (int i = 0; i < n; i++) {
			char text[32];
			snprintf(text, sizeof(text), "event %d", (int)rec[i]->seq);
			assert_true(rec[i]->seq > last);
			assert_true(str_eqz(rec[i]->payload, text));
			last = rec[i]->seq;
			bus_rec_unref(rec[i]);
		}
		total += n;
	}
	assert_int_equal(n, 0);
	return total;
}

static void survives_reopening_and_filters(void **state)
{
	struct bus *bus;
	struct err err = { 0 };
	struct bus_conf conf = { .dir = dir, .segment_bytes = 4000 };
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	append(bus, 1, 900);
	assert_int_equal(read_all(bus, 1, 7), 900);
	bus_close(bus);
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	assert_int_equal(bus_end(bus), 901);
	assert_int_equal(read_all(bus, 1, 7), 900);
	assert_int_equal(read_all(bus, 1, 1), 300);
	append(bus, 901, 10);
	assert_int_equal(read_all(bus, 895, 7), 16);
	bus_close(bus);
}

static void torn_tail_is_cut(void **state)
{
	struct bus *bus;
	struct err err = { 0 };
	struct bus_conf conf = { .dir = dir };
	char path[128];
	int fd;
	uint64_t size;
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	append(bus, 1, 10);
	bus_close(bus);
	snprintf(path, sizeof(path), "%s/%020d.log", dir, 1);
	assert_int_equal(file_open_append(path, &fd, &size, &err), 0);
	assert_int_equal(file_truncate(fd, size - 3, path, &err), 0);
	file_close(fd);
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	assert_int_equal(bus_end(bus), 10);
	assert_int_equal(read_all(bus, 1, 7), 9);
	append(bus, 10, 1);
	assert_int_equal(read_all(bus, 1, 7), 10);
	bus_close(bus);
}

static uint64_t size_of(const char *path)
{
	int fd;
	uint64_t size;
	assert_int_equal(file_open_append(path, &fd, &size, NULL), 0);
	file_close(fd);
	return size;
}

/* A reader of the past names what is damaged, and changes nothing: neither the file nor what stands elsewhere. */
static void damage_of_an_old_segment_is_named_and_left(void **state)
{
	struct bus *bus;
	struct err err = { 0 };
	struct bus_conf conf = { .dir = dir, .segment_bytes = 4000 };
	struct bus_rec *rec[100];
	char path[128];
	uint64_t next;
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	append(bus, 1, 900);
	bus_close(bus);
	snprintf(path, sizeof(path), "%s/%020d.log", dir, 1);
	uint64_t size = size_of(path);
	FILE *f = fopen(path, "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, (long)size / 2, SEEK_SET), 0);
	assert_int_equal(fputs("damage", f) >= 0 && fclose(f) == 0, 1);
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	int n = bus_read(bus, 1, 7, 100, rec, &next, &err);
	assert_true(n > 10 && n < 99);
	for (int i = 0; i < n; i++)
		bus_rec_unref(rec[i]);
	assert_int_equal(bus_read(bus, next, 7, 100, rec, &next, &err), HCP_ECORRUPT);
	assert_true(strstr(err.text, "missing") || strstr(err.text, "cannot be read"));
	assert_int_equal(read_all(bus, 500, 7), 401);
	bus_close(bus);
	assert_int_equal(size_of(path), size);
}

/* The descriptor of the log's newest file. */
static int fd_of_log(void)
{
	char link[64], target[400];
	for (int fd = 3; fd < 1000; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		if (strstr(target, dir) && strstr(target, ".log"))
			return fd;
	}
	fail_msg("the log is not open");
	return -1;
}

/* A sync that fails has lost what it was to save, though the next one would succeed: none is believed after it. */
static void after_a_failed_sync_none_is_believed(void **state)
{
	struct bus *bus;
	struct err err = { 0 };
	struct bus_conf conf = { .dir = dir };
	uint64_t synced = 0;
	int ends[2];
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	append(bus, 1, 3);
	assert_int_equal(bus_sync(bus, &synced, &err), 0);
	assert_int_equal(synced, 3);
	append(bus, 4, 3);
	int fd = fd_of_log(), kept = dup(fd);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dup2(ends[1], fd), fd); /* a pipe cannot be synced */
	assert_int_equal(bus_sync(bus, &synced, &err), HCP_EIO);
	assert_int_equal(dup2(kept, fd), fd);
	assert_int_equal(bus_sync(bus, &synced, &err), HCP_EIO);
	assert_non_null(strstr(err.text, "an earlier sync failed"));
	assert_int_equal(synced, 3);
	append(bus, 7, 3); /* readers in this process are served on */
	assert_int_equal(read_all(bus, 1, 7), 9);
	bus_close(bus);
	close(kept);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	assert_int_equal(bus_sync(bus, &synced, &err), 0);
	bus_close(bus);
}

/* An append that memory was too short for is not there afterwards either, and nothing after it is lost. */
static void a_failed_append_leaves_no_trace(void **state)
{
	struct bus *bus;
	struct err err = { 0 };
	struct bus_conf conf = { .dir = dir };
	struct bus_entry e = { .topic = 1, .sender = 1, .payload = STR("event 0") };
	int n = 0, failed = 0;
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	for (int i = 1; i <= 400; i++) {
		char text[32];
		snprintf(text, sizeof(text), "event %d", i);
		e.seq = (uint64_t)i;
		e.payload = str_of(text);
		mem_fail_after((uint64_t)(i % 5), 0);
		int rc = bus_append(bus, &e, 1, &err);
		mem_fail_after(0, 0);
		assert_true(rc == 0 || rc == HCP_ENOMEM);
		n += rc == 0;
		failed += rc < 0;
	}
	assert_true(n > 100 && failed > 100);
	assert_int_equal(read_all(bus, 1, 7), n);
	bus_close(bus);
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	assert_int_equal(bus_end(bus), n + 1);
	assert_int_equal(read_all(bus, 1, 7), n);
	bus_close(bus);
}

static void old_segments_go(void **state)
{
	struct bus *bus;
	struct err err = { 0 };
	assert_int_equal(
		bus_open(&(struct bus_conf){ .dir = dir, .segment_bytes = 2000, .keep_bytes = 6000 }, &bus, &err), 0);
	append(bus, 1, 1000);
	assert_true(bus_begin(bus) > 800);
	assert_int_equal(read_all(bus, 1, 7), (int)(1001 - bus_begin(bus)));
	bus_close(bus);
}

/* One record of a rare topic among thousands: found wherever it is, by one call, from any offset. */
static void rare_topics_are_found(struct bus *bus, uint64_t n, uint64_t every)
{
	struct err err = { 0 };
	for (uint64_t from = 1; from <= n; from += 37) {
		struct bus_rec *rec[4];
		uint64_t next, want = (from + every - 1) / every * every;
		int got = bus_read(bus, from, UINT64_C(1) << 40, 1, rec, &next, &err);
		assert_int_equal(got, want <= n ? 1 : 0);
		if (got) {
			assert_int_equal(rec[0]->offset, want);
			assert_int_equal(next, want + 1);
			bus_rec_unref(rec[0]);
		} else {
			assert_int_equal(next, n + 1);
		}
	}
}

static void append_rare(struct bus *bus, uint64_t first, uint64_t n, uint64_t every)
{
	struct err err = { 0 };
	for (uint64_t i = first; i < first + n; i++) {
		struct bus_entry e = { i, i % every ? 3 : 40, 1, STR("x") };
		assert_int_equal(bus_append(bus, &e, 1, &err), 0);
	}
}

static void rare_topics_are_found_in_memory_and_in_files(void **state)
{
	enum { N = 20000, EVERY = 1900 };
	struct bus_conf conf = { .dir = dir, .segment_bytes = 30000 };
	struct bus *bus;
	struct err err = { 0 };
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	append_rare(bus, 1, N, EVERY);
	rare_topics_are_found(bus, N, EVERY);
	bus_close(bus);
	assert_int_equal(bus_open(&conf, &bus, &err), 0);
	rare_topics_are_found(bus, N, EVERY);
	append_rare(bus, N + 1, 5000, EVERY);
	rare_topics_are_found(bus, N + 5000, EVERY);
	bus_close(bus);
	assert_int_equal(bus_open(&(struct bus_conf){ .dir = NULL }, &bus, &err), 0);
	append_rare(bus, 1, 5000, EVERY);
	rare_topics_are_found(bus, 5000, EVERY);
	bus_close(bus);
}

enum { LARGE = 200 << 10 };

/* Every eighth is larger than what a reader behind the tail takes of a file at once. */
static void append_sizes(struct bus *bus, uint64_t first, uint64_t n)
{
	static char payload[LARGE];
	struct err err = { 0 };
	for (uint64_t i = first; i < first + n; i++) {
		memset(payload, (int)(i % 251), sizeof(payload));
		struct bus_entry e = { i, (uint16_t)(i % 2), 1, { payload, i % 8 ? i % 900 : LARGE - i } };
		assert_int_equal(bus_append(bus, &e, 1, &err), 0);
	}
}

static void a_reader_behind_the_tail_gets_all(void **state)
{
	enum { N = 300 };
	struct bus *bus;
	struct err err = { 0 };
	assert_int_equal(bus_open(&(struct bus_conf){ .dir = dir, .segment_bytes = 3 << 20 }, &bus, &err), 0);
	append_sizes(bus, 1, N);
	for (uint64_t mask = 1; mask <= 3; mask++) {
		struct bus_rec *rec[7];
		uint64_t from = 1, want = mask == 2 ? 1 : mask == 1 ? 2 : 1, step = mask == 3 ? 1 : 2;
		int n;
		while ((n = bus_read(bus, from, mask, 7, rec, &from, &err)) > 0)
			for (int i = 0; i < n; i++, want += step) {
				assert_int_equal(rec[i]->seq, want);
				assert_int_equal(rec[i]->payload.n, want % 8 ? want % 900 : LARGE - want);
				if (rec[i]->payload.n)
					assert_int_equal((unsigned char)rec[i]->payload.p[rec[i]->payload.n - 1], want % 251);
				bus_rec_unref(rec[i]);
			}
		assert_int_equal(n, 0);
		assert_true(want > N);
	}
	bus_close(bus);
}

/* The file is cut or altered under a log that has long written it: what is whole before that is read, then it says so.
 */
static void a_reader_behind_the_tail_meets_damage(void **state)
{
	char path[128];
	struct bus *bus;
	struct bus_rec *rec[64];
	struct err err = { 0 };
	uint64_t next = 1;
	assert_int_equal(bus_open(&(struct bus_conf){ .dir = dir }, &bus, &err), 0);
	append(bus, 1, BUS_TAIL + 200);
	snprintf(path, sizeof(path), "%s/%020d.log", dir, 1);
	FILE *f = fopen(path, "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, 10 * (BUS_HEADER + 7) + BUS_HEADER, SEEK_SET), 0); /* in one of the first */
	assert_int_equal(fputc('!', f), '!');
	assert_int_equal(fclose(f), 0);
	int n = bus_read(bus, 1, 7, 64, rec, &next, &err);
	assert_in_range(n, 5, 12);
	for (int i = 0; i < n; i++)
		bus_rec_unref(rec[i]);
	assert_int_equal(bus_read(bus, next, 7, 64, rec, &next, &err), HCP_ECORRUPT);
	assert_non_null(strstr(err.text, "cannot be read"));
	assert_int_equal(truncate(path, 500), 0);
	assert_int_equal(bus_read(bus, 100, 7, 64, rec, &next, &err), HCP_ECORRUPT);
	bus_close(bus);
}

static void wake(void *arg)
{
	++*(int *)arg;
}

static void watchers_hear_their_topics_only(void **state)
{
	struct bus *bus;
	struct err err = { 0 };
	int woken = 0;
	assert_int_equal(bus_open(&(struct bus_conf){ .dir = NULL }, &bus, &err), 0);
	assert_int_equal(bus_watch(bus, 2, wake, &woken), 0);
	append(bus, 1, 9);
	assert_int_equal(woken, 3);
	bus_unwatch(bus, &woken);
	append(bus, 10, 3);
	assert_int_equal(woken, 3);
	bus_close(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(survives_reopening_and_filters, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(torn_tail_is_cut, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(damage_of_an_old_segment_is_named_and_left, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(after_a_failed_sync_none_is_believed, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_failed_append_leaves_no_trace, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(old_segments_go, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(rare_topics_are_found_in_memory_and_in_files, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_reader_behind_the_tail_gets_all, fresh_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_reader_behind_the_tail_meets_damage, fresh_dir, remove_dir),
		cmocka_unit_test(watchers_hear_their_topics_only),
	};
	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
