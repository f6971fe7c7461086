#ifndef HCP_CMD_CLI_CREDS_H
#define HCP_CMD_CLI_CREDS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * $HCP_CONFIG_DIR/credentials.json, else $XDG_CONFIG_HOME/hcp/, else ~/.config/hcp/; mode 0600, replaced by rename:
 *
 *   { "servers": { "http://127.0.0.1:8000": { "access_token": "…", "refresh_token": "…", "email": "…",
 *                                             "expires_at_ns": 0 } } }
 *
 * A token belongs to the server that gave it and is sent to no other.
 */
enum { CREDS_FILE_MAX = 256 * 1024, CREDS_LOCK_MS = 20000 };

/* One login; texts in the arena they were read into. */
struct creds {
	const char *token, *refresh; /* refresh NULL: cannot be renewed */
	const char *email;
	int64_t expires_at_ns; /* of the token; 0: unknown */
};

/* Path of the file, in the arena. */
int creds_path(struct arena *arena, const char **ret_path, struct err *err) MUST_CHECK;
/* HCP_ENOTFOUND if there is none for this server. */
int creds_load(struct arena *arena, const char *url, struct creds *ret, struct err *err) MUST_CHECK;
/* c NULL: forget the server (HCP_ENOTFOUND if it is not there). */
int creds_store(struct arena *arena, const char *url, const struct creds *c, struct err *err) MUST_CHECK;
/*
 * Who renews a login holds this: a refresh token that two runs send ends the session. Waits for another run at most
 * CREDS_LOCK_MS (HCP_ETIMEOUT). close() gives it back.
 */
int creds_lock(struct arena *arena, int *ret_fd, struct err *err) MUST_CHECK;
/* A token in a file of the user's own; HCP_EPERM if others may read it. */
int creds_read_token_file(struct arena *arena, const char *path, const char **ret_token, struct err *err) MUST_CHECK;

#endif
