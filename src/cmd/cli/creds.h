#ifndef HCP_CMD_CLI_CREDS_H
#define HCP_CMD_CLI_CREDS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * $HCP_CONFIG_DIR/credentials.json, else $XDG_CONFIG_HOME/hcp/, else ~/.config/hcp/; mode 0600, replaced by rename:
 *
 *   { "servers": { "http://127.0.0.1:8000": { "access_token": "…", "email": "…", "expires_at_ns": 0 } } }
 *
 * A token belongs to the server that gave it and is sent to no other.
 */
enum { CREDS_FILE_MAX = 256 * 1024 };

/* Path of the file, in the arena. */
int creds_path(struct arena *arena, const char **ret_path, struct err *err) MUST_CHECK;
/* HCP_ENOTFOUND if there is none for this server; HCP_EAUTH if it has expired. */
int creds_load(struct arena *arena, const char *url, int64_t now_ns, const char **ret_token,
	       struct err *err) MUST_CHECK;
/* token NULL: forget the server (HCP_ENOTFOUND if it is not there). */
int creds_store(struct arena *arena, const char *url, const char *token, const char *email, int64_t expires_at_ns,
		struct err *err) MUST_CHECK;
/* A token in a file of the user's own; HCP_EPERM if others may read it. */
int creds_read_token_file(struct arena *arena, const char *path, const char **ret_token, struct err *err) MUST_CHECK;

#endif
