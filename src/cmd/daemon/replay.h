#ifndef HCP_CMD_DAEMON_REPLAY_H
#define HCP_CMD_DAEMON_REPLAY_H

#include "cmd/daemon/options.h"

/* Prints a ReplayReport a service, one line of JSON each. 0: identical, 1: not, 2: could not be done (told on stderr).
 */
struct settings;
int replay_run(const struct options *o, const struct settings *settings);

#endif
