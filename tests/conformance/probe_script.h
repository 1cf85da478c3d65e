/* What a Script asks for at the beginning and at the end of a call, of whatever kind. */
#ifndef CONFORMANCE_PROBE_SCRIPT_H
#define CONFORMANCE_PROBE_SCRIPT_H

#include "probe_stream.h"

/* Metadata, mistakes, waiting. False: the call was answered with a failure. */
bool script_begin(baton_call *call, const Conformance__Script *script, struct talks *talks);

/* Fails the call as the script says. */
int script_fail(baton_call *call, const Conformance__Script *script);

/* Replies to Wait. */
void script_reply(baton_call *call, const Conformance__Script *script);

/* A pattern of script->size bytes: of the call, or malloc'ed. */
ProtobufCBinaryData script_payload(baton_call *call, const Conformance__Script *script);

/* script->text_size times an 'x'; malloc. */
char *script_text(const Conformance__Script *script);

void talks_note(struct talks *talks, int result);

/* Carries the rest of the command out. */
void talks_report(struct talks *talks, const Conformance__Command *command, baton_call *call,
                  Conformance__Counts *counts);

#endif
