#include "spies.h"
#include <errno.h>

struct spy client_spies[SPIES], server_spies[SPIES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
char client_log[256], server_log[256];

static void note(bool client, char one, char two)
{
        char *log = client ? client_log : server_log;
        size_t length = strlen(log);
        if (length + 3 > sizeof client_log)
                return;
        log[length] = one;
        log[length + 1] = two;
        log[length + 2] = '\0';
}

static void look(struct spy *spy, const baton_intercept *intercept)
{
        const char *value = baton_metadata_text(intercept->metadata, "k");
        const ProtobufCMessage *request = intercept->request;
        spy->client = intercept->client;
        spy->with_call = intercept->call != NULL;
        spy->with_request = request != NULL;
        spy->deadline_ns = intercept->deadline_ns;
        spy->thread = pthread_self();
        spy->wrong |= strncmp(intercept->method, "/conformance.Probe/", 19) != 0;
        spy->wrong |= intercept->state != NULL;
        snprintf(spy->metadata, sizeof spy->metadata, "%s", value ? value : "");
        if (request && request->descriptor == &conformance__blob__descriptor)
                snprintf(spy->request, sizeof spy->request, "%s", ((const Conformance__Blob *)request)->text);
}

static baton_code on_begin(baton_intercept *intercept, void *context)
{
        struct spy *spy = context;
        pthread_mutex_lock(&lock);
        note(intercept->client, '(', spy->name);
        spy->n_begun++;
        look(spy, intercept);
        if (spy->adds)
                spy->added = baton_intercept_add(intercept, spy->adds, &spy->name, 1);
        intercept->state = &spy->name;
        bool answers = spy->answers;
        baton_code refuses = spy->refuses;
        const char *text = spy->text;
        pthread_mutex_unlock(&lock);
        if (answers)
                baton_call_fail(intercept->call, BATON_ABORTED, "answered by %c", spy->name);
        return refuses && text ? baton_intercept_refuse(intercept, refuses, "%s", text) : refuses;
}

static void on_end(baton_intercept *intercept, const baton_status *status, void *context)
{
        struct spy *spy = context;
        pthread_mutex_lock(&lock);
        note(intercept->client, spy->name, ')');
        spy->n_ended++;
        spy->code = status->code;
        spy->maybe_executed = status->maybe_executed;
        snprintf(spy->message, sizeof spy->message, "%s", status->message);
        spy->thread = pthread_self();
        spy->wrong |= intercept->state != &spy->name || intercept->client != spy->client;
        spy->wrong |= strncmp(intercept->method, "/conformance.Probe/", 19) != 0;
        spy->wrong |= intercept->client && (intercept->request || intercept->metadata->n);
        spy->wrong |= baton_intercept_add(intercept, "late", "x", 1) != -EINVAL;
        pthread_mutex_unlock(&lock);
}

void spies_reset(void)
{
        pthread_mutex_lock(&lock);
        *client_log = *server_log = '\0';
        for (int i = 0; i < SPIES; i++) {
                client_spies[i] = (struct spy){ .name = (char)('a' + i) };
                server_spies[i] = (struct spy){ .name = (char)('x' + i) };
        }
        pthread_mutex_unlock(&lock);
}

const baton_interceptor *spies_array(struct spy *spies)
{
        static baton_interceptor array[SPIES];
        for (int i = 0; i < SPIES; i++)
                array[i] = (baton_interceptor){ .begin = on_begin, .end = on_end, .context = &spies[i] };
        return array;
}

void spies_open(const baton_server_options *server)
{
        baton_server_options server_options = server ? *server : (baton_server_options){ 0 };
        baton_channel_options client_options = { 0 };
        static struct spy nobody[SPIES];
        baton_interceptor at_server[SPIES];
        memcpy(at_server, spies_array(server_spies), sizeof at_server);
        server_options.interceptors = at_server;
        server_options.n_interceptors = SPIES;
        client_options.interceptors = spies_array(client_spies);
        client_options.n_interceptors = SPIES;
        fixture_open(&server_options, &client_options);
        memcpy(at_server, spies_array(nobody), sizeof at_server); /* both arrays were copied */
        spies_reset();
}

void spies_close(void)
{
        fixture_close();
        for (int i = 0; i < SPIES; i++) {
                assert_false(client_spies[i].wrong);
                assert_false(server_spies[i].wrong);
                assert_int_equal(client_spies[i].n_begun, client_spies[i].n_ended);
                assert_int_equal(server_spies[i].n_begun, server_spies[i].n_ended);
        }
}

int spies_begin(void **state)
{
        (void)state;
        spies_reset();
        spies_open(NULL);
        return 0;
}

int spies_end(void **state)
{
        (void)state;
        spies_close();
        return 0;
}

static bool logged(void *argument)
{
        pthread_mutex_lock(&lock);
        bool same = strcmp(server_log, argument) == 0;
        pthread_mutex_unlock(&lock);
        return same;
}

void spies_expect(const char *client, const char *server)
{
        assert_string_equal(client_log, client);
        if (!eventually(logged, (void *)server))
                assert_string_equal(server_log, server);
}
