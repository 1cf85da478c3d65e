#include "service.h"
#include "flow.h"

#include <cstdio>
#include <cstring>
#include <unistd.h>

namespace perf
{

/* What the server's process and the one that started it share. */
struct ServerControl {
        char address[96];
        baton_server_options options;
        alignas(64) std::atomic<std::uint32_t> ready;
        alignas(64) std::atomic<std::uint64_t> begun; /* calls of Work */
};

static baton_code idle_begin(baton_intercept *, void *)
{
        return BATON_OK;
}

static void idle_end(baton_intercept *, const baton_status *, void *)
{
}

const baton_interceptor idle_interceptor = { idle_begin, idle_end, nullptr };

/* ---- the server's process --------------------------------------------------------------------------------- */

static void null(baton_call *call, const Perf__Empty *, void *)
{
        const Perf__Empty reply = PERF__EMPTY__INIT;
        bench_null_reply(call, &reply);
}

static void echo(baton_call *call, const Perf__Small *request, void *)
{
        Perf__Small reply = PERF__SMALL__INIT;
        reply.a = request->a;
        reply.b = request->b;
        reply.c = request->c;
        reply.d = request->d;
        reply.e = request->e;
        reply.f = request->f;
        reply.text = request->text;
        bench_echo_reply(call, &reply);
}

static void copy(baton_call *call, const Perf__Blob *request, void *)
{
        static std::vector<std::uint8_t> ordinary;
        if (ordinary.size() < request->data.len)
                ordinary.resize(request->data.len);
        ordinary[0] = request->data.data[0];
        Perf__Blob reply = PERF__BLOB__INIT;
        reply.data = { request->data.len, ordinary.data() };
        bench_copy_reply(call, &reply);
}

static void hand_over(baton_call *call, const Perf__Blob *request, void *)
{
        auto *data = static_cast<std::uint8_t *>(baton_call_alloc(call, request->data.len));
        if (!data) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
                return;
        }
        data[0] = request->data.data[0];
        Perf__Blob reply = PERF__BLOB__INIT;
        reply.data = { request->data.len, data };
        bench_hand_over_reply(call, &reply);
}

static std::atomic<std::uint64_t> *begun;

static void work(baton_call *call, const Perf__Small *request, void *)
{
        Perf__Small reply = PERF__SMALL__INIT;
        reply.b = begun->load(std::memory_order_relaxed);
        begun->store(reply.b + 1, std::memory_order_relaxed);
        if (request->a)
                for (const std::uint64_t end = now_ns() + request->a; now_ns() < end;)
                        ;
        bench_work_reply(call, &reply);
}

static void hold(baton_call *call, const Perf__Empty *, void *)
{
        baton_call_retain(call); /* for good: the process is killed in the end */
}

static bench_handlers all_handlers()
{
        bench_handlers handlers = {};
        handlers.null = null;
        handlers.echo = echo;
        handlers.copy = copy;
        handlers.hand_over = hand_over;
        handlers.work = work;
        handlers.hold = hold;
        return handlers;
}

static int serve(const std::vector<std::string> &arguments)
{
        static const bench_handlers handlers = all_handlers();
        const Shared shared = Shared::inherit(arguments[0]);
        ServerControl *control = shared.as<ServerControl>();
        begun = &control->begun;
        control->options.interceptors = &idle_interceptor;
        baton_server *server = baton_server_new(&control->options);
        if (!server || bench_register(server, &handlers, nullptr) < 0 || register_flow(server) < 0 ||
            baton_server_listen(server, control->address) < 0)
                die("cannot serve %s: %s", control->address, baton_error());
        control->ready.store(1, std::memory_order_release);
        if (baton_server_run(server) < 0)
                die("the server at %s stopped: %s", control->address, baton_error());
        return 0;
}
static const Role serve_role("serve", serve);

/* ---- the measuring side ----------------------------------------------------------------------------------- */

static Shared new_control(const baton_server_options &options)
{
        static int count;
        Shared shared(sizeof(ServerControl));
        ServerControl *control = shared.as<ServerControl>();
        control->options = options;
        std::snprintf(control->address, sizeof control->address, "shm:/tmp/baton-perf-%d-%d.sock", getpid(), count++);
        return shared;
}

Server::Server(const baton_server_options &options)
    : shared_(new_control(options)), control_(shared_.as<ServerControl>()), process_("serve", { shared_.fd() })
{
        process_.await(control_->ready);
}

Server::~Server()
{
        unlink(control_->address + std::strlen("shm:"));
}

const char *Server::address() const
{
        return control_->address;
}

pid_t Server::pid() const
{
        return process_.pid();
}

std::uint64_t Server::begun() const
{
        return control_->begun.load(std::memory_order_relaxed);
}

Pinned Server::pin_apart() const
{
        pin_process(pid(), cores().server);
        return Pinned(cores().client);
}

Channel::Channel(const char *address, const baton_channel_options &options)
    : channel_(baton_channel_open(address, &options))
{
        if (!channel_)
                die("cannot open a channel to %s: %s", address, baton_error());
        const baton_status status = baton_channel_connect(channel_);
        if (status.code != BATON_OK)
                die("cannot connect to %s: %s", address, status.message);
}

Channel::Channel(Channel &&other) noexcept : channel_(other.channel_)
{
        other.channel_ = nullptr;
}

Channel::~Channel()
{
        baton_channel_close(channel_);
}

bool fail(const char *method, const baton_status &status)
{
        if (status.code == BATON_OK)
                return fail_with(std::string(method) + ": the reply is not what the server was asked for");
        return fail_with(std::string(method) + ": " + baton_code_name(status.code) + ": " + status.message);
}

Perf__Small small_request()
{
        static char text[] = "sixteen letters.";
        Perf__Small request = PERF__SMALL__INIT;
        request.text = text;
        return request;
}

bool call_null(baton_channel *channel)
{
        const Perf__Empty request = PERF__EMPTY__INIT;
        const Perf__Empty *reply = nullptr;
        const baton_status status = bench_null(channel, &request, &reply, nullptr);
        const bool good = status.code == BATON_OK || fail("Null", status);
        baton_release(reply);
        return good;
}

bool call_echo(baton_channel *channel, Perf__Small &request)
{
        const Perf__Small *reply = nullptr;
        request.f++;
        const baton_status status = bench_echo(channel, &request, &reply, nullptr);
        const bool good = (status.code == BATON_OK && reply->f == request.f) || fail("Echo", status);
        baton_release(reply);
        return good;
}

} // namespace perf
