/* Interceptors that note what they see, three at the client and three at the server; for the tests of them. */
#ifndef CONFORMANCE_SPIES_H
#define CONFORMANCE_SPIES_H

#include "fixture.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPIES = 3, LONGEST_NOTE = 3000 };

/* One interceptor of the tests: what it is to do, and what it has seen. */
struct spy {
        char name;
        baton_code refuses; /* BATON_OK: does not */
        const char *text;   /* of the refusal; NULL: none */
        const char *adds;   /* this key, with its name for a value; NULL: nothing */
        bool answers;       /* server: fails the call in begin, and goes on */

        int n_begun, n_ended;
        baton_code code; /* of the last end, as the next */
        char message[LONGEST_NOTE];
        bool maybe_executed;
        uint64_t deadline_ns;
        int added;         /* what baton_intercept_add returned */
        char metadata[64]; /* the first of the key "k" */
        char request[64];  /* an Order's message, or an Echo's text */
        bool client, with_call, with_request, wrong;
        pthread_t thread;
};

extern struct spy client_spies[SPIES], server_spies[SPIES];
extern char client_log[256], server_log[256]; /* "(a" begun, "a)" ended */

/* What they log of a call that all see. */
#define ALL_CLIENT "(a(b(cc)b)a)"
#define ALL_SERVER "(x(y(zz)y)x)"

/* Spies that have seen nothing, and do nothing. */
void spies_reset(void);

/* SPIES interceptors, for options; the next call changes them. */
const baton_interceptor *spies_array(struct spy *spies);

/* A server and a channel to it, with the spies. options NULL: the defaults. */
void spies_open(const baton_server_options *server);
/* Closes both; each begin had its end. */
void spies_close(void);

/* The logs are these. The server's ends come after its answer, and so maybe after the client's. */
void spies_expect(const char *client, const char *server);

/* Set-up and tear-down. */
int spies_begin(void **state);
int spies_end(void **state);

#endif
