/* Baton: RPC for C. This header includes all that a program needs beside its own generated x.baton.h. */
#ifndef BATON_BATON_H
#define BATON_BATON_H

#include <baton/call.h>
#include <baton/channel.h>
#include <baton/counters.h>
#include <baton/interceptor.h>
#include <baton/loop.h>
#include <baton/metadata.h>
#include <baton/server.h>
#include <baton/service.h>
#include <baton/status.h>
#include <baton/stream.h>

#endif
