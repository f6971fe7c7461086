#include "infer/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int filemap_open(struct filemap *ret, const char *dir, const char *name, uint64_t max, struct err *err)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(err, HCP_ELIMIT, name, "the path is too long");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno == ENOENT || errno == ENOTDIR ? HCP_ENOTFOUND : HCP_EIO, name, "%.160s: %s",
			       path, strerror(errno));
	struct stat st;
	int rc = 0;
	void *p = NULL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		rc = err_set(err, HCP_EIO, name, "%.160s is not a regular file", path);
	else if ((uint64_t)st.st_size > max)
		rc = err_set(err, HCP_ELIMIT, name, "%.160s is larger than %llu bytes", path, (unsigned long long)max);
	if (rc == 0 && st.st_size > 0) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED)
			rc = err_set(err, HCP_EIO, name, "%.160s: %s", path, strerror(errno));
	}
	close(fd);
	if (rc < 0)
		return rc;
	*ret = (struct filemap){ p, (size_t)st.st_size };
	return 0;
}

void filemap_close(struct filemap *f)
{
	if (f->p)
		munmap((void *)f->p, f->n);
	*f = (struct filemap){ 0 };
}
