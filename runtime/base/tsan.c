/*
 * For the tsan preset only. ThreadSanitizer of GCC 12 does not see pthread_mutex_clocklock and reports races where that lock
 * was held; it does see pthread_mutex_timedlock, so that the former is made of the latter here.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
        struct timespec now, wall;
        clock_gettime(clock, &now);
        clock_gettime(CLOCK_REALTIME, &wall);
        wall.tv_sec += until->tv_sec - now.tv_sec;
        wall.tv_nsec += until->tv_nsec - now.tv_nsec;
        if (wall.tv_nsec < 0) {
                wall.tv_sec--;
                wall.tv_nsec += 1000000000;
        } else if (wall.tv_nsec >= 1000000000) {
                wall.tv_sec++;
                wall.tv_nsec -= 1000000000;
        }
        return pthread_mutex_timedlock(mutex, &wall);
}
