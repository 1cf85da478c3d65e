/*
 * The Baton side of the benchmarks: a server of perf.Bench in a process of its own, and channels to it.
 */
#ifndef PERF_SERVICE_H
#define PERF_SERVICE_H

#include "harness.h"
#include "perf.baton.h"
#include <baton/baton.h>

namespace perf
{

/* Room for the largest payload here, 64 MiB, and for what travels with it. */
constexpr std::size_t max_message_bytes = std::size_t{ 128 } << 20;

struct ServerControl;

/* An interceptor that does nothing. */
extern const baton_interceptor idle_interceptor;

/* A server with one worker, in another process. It runs on either core until it is pinned. n_interceptors 1: with that one. */
class Server
{
      public:
        explicit Server(const baton_server_options &options = {});
        ~Server();
        const char *address() const;
        pid_t pid() const;
        std::uint64_t begun() const; /* calls of Work, so far */
        /* Keeps the server on its core from now on, and the calling thread on the other while the result lives. To be
         * called when they are connected and warm: who may only use one CPU when it connects is not going to poll. */
        [[nodiscard]] Pinned pin_apart() const;

      private:
        Shared shared_;
        ServerControl *control_;
        Process process_;
};

/* A connected channel; the program ends where it cannot be had. */
class Channel
{
      public:
        explicit Channel(const char *address, const baton_channel_options &options = {});
        Channel(const Channel &) = delete;
        Channel(Channel &&other) noexcept;
        ~Channel();
        operator baton_channel *() const
        {
                return channel_;
        }

      private:
        baton_channel *channel_;
};

/* A request of 64 bytes. */
Perf__Small small_request();

/* One blocking call of each kind; false, with the reason in failure(), where it failed or the answer is wrong. */
bool call_null(baton_channel *channel);
bool call_echo(baton_channel *channel, Perf__Small &request);

/* What went wrong with a call: keeps the reason for failure(). Returns false. */
bool fail(const char *method, const baton_status &status);

} // namespace perf

#endif
