/*
 * Stands in for libFuzzer in an ordinary build: hands every file of the named folders (and named files) to the
 * target, in order of name, and the empty input first. A target without a single seed fails, so that nobody
 * forgets to commit them. Each input lies in memory of its exact size, so that a sanitizer sees a step too far.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { SEED_MAX = 1 << 20 };

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *whole = malloc(SEED_MAX);
	uint8_t *exact = NULL;
	int r = -1;

	if (!f || !whole)
		goto out;
	size_t n = fread(whole, 1, SEED_MAX, f);
	if (ferror(f) || n == SEED_MAX)
		goto out;
	exact = malloc(n ? n : 1);
	if (!exact)
		goto out;
	memcpy(exact, whole, n);
	LLVMFuzzerTestOneInput(exact, n);
	r = 0;
out:
	if (r)
		fprintf(stderr, "%s: cannot be read, or larger than %d bytes\n", path, SEED_MAX);
	if (f)
		fclose(f);
	free(whole);
	free(exact);
	return r;
}

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Number of files replayed, or -1. */
static int replay_folder(const char *path)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, visible, alphasort);
	int r = n;

	if (n < 0)
		fprintf(stderr, "%s: no such folder; commit seeds for this target\n", path);
	for (int i = 0; i < n; i++) {
		char file[4096];

		if (snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name) >= (int)sizeof(file) || replay_file(file))
			r = -1;
		free(names[i]);
	}
	free(names);
	return r;
}

int main(int argc, char **argv)
{
	int total = 0;
	static const uint8_t nothing[1];

	LLVMFuzzerTestOneInput(nothing, 0);
	for (int i = 1; i < argc; i++) {
		struct stat st;
		int n = 1;

		if (stat(argv[i], &st) == 0 && S_ISREG(st.st_mode))
			n = replay_file(argv[i]) ? -1 : 1;
		else
			n = replay_folder(argv[i]);
		if (n < 0)
			return 1;
		total += n;
	}
	printf("%d seeds\n", total);
	return total > 0 ? 0 : 1;
}
