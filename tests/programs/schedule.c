/* How programs say how soon and where they run: themselves, and their threads as C libraries do it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void say(const char *what, int error) { printf("%s: %s\n", what, error ? strerrorname_np(error) : "ok"); }
static int of(int result) { return result < 0 ? errno : 0; }
static void *nothing(void *argument) { return argument; }

static int start(pthread_attr_t *attributes) {
    pthread_t thread;
    int error = pthread_create(&thread, attributes, nothing, NULL);
    return error ? error : pthread_join(thread, NULL);
}

int main(void) {
    struct sched_param none = {0};
    pthread_attr_t explicit, pinned;
    cpu_set_t own;
    sched_getaffinity(0, sizeof own, &own);
    say("nice self", of(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 1)));
    say("affinity self", of(sched_setaffinity(0, sizeof own, &own)));
    say("batch self", of(sched_setscheduler(0, SCHED_BATCH, &none)));
    sched_setscheduler(0, SCHED_OTHER, &none);
    pthread_attr_init(&explicit);
    pthread_attr_setinheritsched(&explicit, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&explicit, SCHED_OTHER);
    pthread_attr_setschedparam(&explicit, &none);
    say("thread with attributes", start(&explicit));
    say("policy of a thread", pthread_setschedparam(pthread_self(), SCHED_OTHER, &none));
    say("affinity of a thread", pthread_setaffinity_np(pthread_self(), sizeof own, &own));
    pthread_attr_init(&pinned);
    pthread_attr_setaffinity_np(&pinned, sizeof own, &own);
    say("thread with an affinity", start(&pinned));
    say("batch thread", pthread_setschedparam(pthread_self(), SCHED_BATCH, &none));
    say("nice thread", of(setpriority(PRIO_PROCESS, gettid(), getpriority(PRIO_PROCESS, 0) + 1)));
    return 0;
}
