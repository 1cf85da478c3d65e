#include "program.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>

void program_begin(void)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

sigset_t program_block_sigterm(void)
{
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        return signals;
}

void program_ready(void)
{
        printf("ready\n");
        fflush(stdout);
}

int program_serve(baton_server *server, struct probe *probe)
{
        program_ready();
        int error = baton_server_run(server);
        baton_server_free(server);
        probe_free(probe);
        return error;
}
