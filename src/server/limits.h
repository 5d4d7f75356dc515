/* Limits that are no option: what no honest client comes near. */
#ifndef TERN_SERVER_LIMITS_H
#define TERN_SERVER_LIMITS_H

enum {
    TERN_MAX_UNREAD = 1 << 20,    /* bytes of a stream that its client has not read; then it is cut */
    TERN_SEND_BUFFER = 128 << 10, /* bytes of an answer that the system keeps for a client */
    TERN_LARGE_BODY = 64 << 10,   /* bytes of a request from which on it does not delay smaller ones */
    TERN_JOB_WINDOW = 16,         /* choices of one request that are scheduled at a time */
    TERN_MAX_STOP = 16,           /* stop strings */
    TERN_MAX_TOP_LOGPROBS = 20,   /* as OpenAI */
    TERN_MAX_BIAS = 1024,         /* entries of logit_bias */
    TERN_MAX_MESSAGES = 4096,     /* of a chat */
    TERN_MAX_TOOLS = 128,         /* as OpenAI */
    TERN_SPARE_CONNECTIONS = 16,  /* beyond max_connections, to be told 503 */
};

#endif
