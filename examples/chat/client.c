/*
 * chat-client NAME: takes part in the chat from a terminal, or a script. What is typed is said; end of input (Ctrl-D) leaves.
 *
 * One stream, two threads: one writes, the other reads.
 */
#include "chat.baton.h"
#include "common/report.h"
#include <baton/baton.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *say_lines(void *context)
{
        baton_stream *stream = context;
        char *line = NULL;
        size_t size = 0;
        while (getline(&line, &size, stdin) > 0) {
                line[strcspn(line, "\n")] = '\0';
                Chat__Say say = CHAT__SAY__INIT;
                say.text = line;
                if (chat_join_write(stream, &say) < 0)
                        fprintf(stderr, "chat-client: not sent: %s\n", baton_error());
        }
        free(line);
        chat_join_writes_done(stream);
        return NULL;
}

static void print_line(const Chat__Line *line)
{
        static const char *const kinds[] = { "", "joined", "left", "is gone", "was too slow" };
        if (line->kind == CHAT__LINE__KIND__SAID)
                printf("%s: %s\n", line->name, line->text);
        else if (line->kind <= CHAT__LINE__KIND__DROPPED)
                printf("* %s %s\n", line->name, kinds[line->kind]);
        fflush(stdout);
}

int main(int argc, char **argv)
{
        if (argc != 2)
                die("usage: chat-client NAME");
        baton_channel *channel = baton_channel_open("shm:chat", NULL);
        if (!channel)
                die("%s", baton_error());

        baton_metadata_entry name = baton_text("chat-name", argv[1]);
        baton_metadata metadata = { 1, &name };
        baton_stream *stream = chat_join_open(channel, &(baton_call_options){ .metadata = &metadata });
        pthread_t thread;
        if (!stream)
                die("%s", baton_error());
        if (pthread_create(&thread, NULL, say_lines, stream) != 0)
                die("no thread can be started");

        const Chat__Line *line;
        while (chat_join_read(stream, &line) > 0)
                print_line(line);
        die_unless_ok(chat_join_finish(stream),
                      "chat"); /* ends the process, although the thread may wait for the terminal */

        pthread_join(thread, NULL);
        baton_stream_close(stream);
        baton_channel_close(channel);
        return 0;
}
