#ifndef HCP_AGENT_RUNTIME_MAIN_H
#define HCP_AGENT_RUNTIME_MAIN_H

/*
 * `hcp-agent runtime --model DIR --listen unix:PATH|HOST:PORT [--name NAME] [--parent PID]`: the inference runtime as a
 * process of its own, so that its death costs a restart and not the node.
 *
 *   POST /v1/embeddings   answers with x-hcp-compute-ns and x-hcp-tokens besides the body
 *   GET  /v1/models       GET /health (503 until it serves; x-hcp-model-digest: see infer/digest.h)
 *   POST /sleep  /wake    light sleep: the weights stay
 *
 * The socket is opened and the model read with the parent's rights, then a root process becomes `nobody`: what comes
 * from outside are the bytes of requests. It ends with its parent. Returns the exit status.
 */
int runtime_main(int argc, char **argv);

#define RUNTIME_COMPUTE_HEADER "x-hcp-compute-ns"
#define RUNTIME_TOKENS_HEADER "x-hcp-tokens"
#define RUNTIME_DIGEST_HEADER "x-hcp-model-digest"
enum { RUNTIME_BODY_MAX = 8 << 20 };

#endif
