/*
 * chat-server: a bidirectional stream per participant, and one log that all of them are told from.
 *
 * Each participant has a place in the log. tell() sends on from there until the stream is full, and runs again when the client has read:
 * nobody waits for anybody. There is one worker, so that all callbacks run on one thread, and nothing is locked.
 */
#include "chat.baton.h"
#include "common/report.h"
#include "common/serve.h"
#include <baton/baton.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_LINES = 1024, HISTORY = 10, MAX_TEXT = 4096, MAX_NAME = 32 };

struct line {
        Chat__Line__Kind kind;
        char name[MAX_NAME + 1];
        const Chat__Say *said; /* kept as it was received; NULL: nothing was said */
};

struct room {
        struct line log[LOG_LINES];
        uint64_t end; /* how many lines there ever were */
        struct participant *first;
};

/* Lives in its call's memory. */
struct participant {
        struct room *room;
        struct participant *next;
        baton_call *call;
        const char *name;
        uint64_t heard; /* the lines before this one */
};

static void append(struct room *room, Chat__Line__Kind kind, const char *name, const Chat__Say *said)
{
        struct line *line = &room->log[room->end++ % LOG_LINES];
        baton_release(line->said);
        line->kind = kind;
        snprintf(line->name, sizeof line->name, "%s", name);
        line->said = baton_retain(said);
}

static void leave(struct participant *self, Chat__Line__Kind why)
{
        struct participant **link = &self->room->first;
        while (*link != self)
                link = &(*link)->next;
        *link = self->next;
        append(self->room, why, self->name, NULL);
        baton_call_release(self->call);
}

/* Sends what the participant has not heard, as far as there is room. */
static void tell(struct participant *self)
{
        struct room *room = self->room;
        if (room->end - self->heard > LOG_LINES) {
                baton_call_fail(self->call, BATON_RESOURCE_EXHAUSTED,
                                "%s reads too slowly, and has missed some lines: "
                                "join again",
                                self->name);
                leave(self, CHAT__LINE__KIND__DROPPED);
                return;
        }
        for (int error = 0; self->heard < room->end && !error; self->heard += !error) {
                struct line *line = &room->log[self->heard % LOG_LINES];
                Chat__Line out = CHAT__LINE__INIT;
                out.kind = line->kind;
                out.name = line->name;
                if (line->said)
                        out.text = line->said->text;
                error = chat_join_send(self->call, &out); /* -EAGAIN: hear() will run again; gone: likewise */
        }
}

static void tell_all(struct room *room)
{
        uint64_t told;
        do {
                told = room->end;
                for (struct participant *self = room->first, *next; self; self = next) {
                        next = self->next; /* it may be dropped */
                        tell(self);
                }
        } while (told != room->end); /* somebody was, and the others hear of it */
}

/* Runs when a participant said something, has room for more lines, or has gone. */
static void hear(baton_call *call, void *context)
{
        struct participant *self = context;
        struct room *room = self->room;
        const Chat__Say *say;
        int n;
        while ((n = chat_join_recv(call, &say)) > 0) {
                if (strlen(say->text) > MAX_TEXT) {
                        baton_call_fail(call, BATON_INVALID_ARGUMENT, "the text has %zu bytes: at most %d are allowed",
                                        strlen(say->text), MAX_TEXT);
                        n = 0;
                        break;
                }
                append(room, CHAT__LINE__KIND__SAID, self->name, say);
        }
        if (n == 0)
                chat_join_end(call);
        if (n != -EAGAIN)
                leave(self, n == 0 ? CHAT__LINE__KIND__LEFT : CHAT__LINE__KIND__LOST);
        tell_all(room);
}

static void join(baton_call *call, void *context)
{
        struct room *room = context;
        const char *name = baton_metadata_text(baton_call_metadata(call), "chat-name");
        if (!name || !*name || strlen(name) > MAX_NAME) {
                baton_call_fail(call, BATON_INVALID_ARGUMENT,
                                "give a name of 1 to %d characters in the metadata 'chat-name'", MAX_NAME);
                return;
        }
        struct participant *self = baton_call_scratch(call, sizeof *self);
        if (!self) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no memory for one more participant");
                return;
        }
        *self = (struct participant){ room, room->first, baton_call_retain(call), name, room->end };
        self->heard -= room->end < HISTORY ? room->end : HISTORY;
        room->first = self;
        append(room, CHAT__LINE__KIND__JOINED, name, NULL);
        baton_call_on_ready(call, hear, self);
}

static const chat_handlers handlers = { .join = join };

int main(int argc, char **argv)
{
        struct serve_arguments arguments;
        serve_parse(&arguments, argc, argv, "shm:chat");
        arguments.options.workers = 1; /* whatever was asked for: the room has no lock */
        static struct room room;
        baton_server *server = baton_server_new(&arguments.options);
        if (!server || chat_register(server, &handlers, &room) < 0)
                die("%s", baton_error());
        serve_until_signal(server, &arguments);
        baton_server_free(server);
        for (int i = 0; i < LOG_LINES; i++)
                baton_release(room.log[i].said);
        return 0;
}
