/* A threaded server under its own load: eight clients connect, send and receive, their server answers each; two threads
 * wake each other by a condition variable. What fails is counted, and everything goes on. A byte on standard input is
 * answered by a line: the number of failures, the last error, the number of SIGRTMIN that came, and how far each thread
 * has come. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 8
#define THREADS (CLIENTS + 3)

static atomic_long done[THREADS];
static atomic_long failures;
static atomic_int last_error;
static atomic_long signals;
static struct sockaddr_in address;
static int listener;

static void failed(void) {
    atomic_store(&last_error, errno);
    atomic_fetch_add(&failures, 1);
}

static void note(int number) {
    (void)number;
    atomic_fetch_add(&signals, 1);
}

static void *client(void *number) {
    for (;; atomic_fetch_add(&done[(long)number], 1)) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct linger reset = {1, 0};
        char bytes[4] = "ping";
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
            failed();
        } else if (send(fd, bytes, 4, MSG_NOSIGNAL) != 4 || recv(fd, bytes, 4, MSG_WAITALL) != 4) {
            failed();
        }
        if (fd >= 0) {
            /* No TIME_WAIT: the ports would be used up. */
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(fd);
        }
        usleep(500);
    }
    return NULL;
}

static void *server(void *number) {
    for (;; atomic_fetch_add(&done[(long)number], 1)) {
        int fd = accept(listener, NULL, NULL);
        char bytes[4];
        if (fd < 0) {
            failed();
            continue;
        }
        if (recv(fd, bytes, 4, MSG_WAITALL) != 4 || send(fd, bytes, 4, MSG_NOSIGNAL) != 4)
            failed();
        close(fd);
    }
    return NULL;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long turn = CLIENTS + 1;

static void *partner(void *number) {
    long own = (long)number, other = 2 * CLIENTS + 3 - own;
    for (;; atomic_fetch_add(&done[own], 1)) {
        pthread_mutex_lock(&lock);
        while (turn != own)
            pthread_cond_wait(&turned, &lock);
        turn = other;
        pthread_cond_signal(&turned);
        pthread_mutex_unlock(&lock);
        usleep(200);
    }
    return NULL;
}

int main(void) {
    socklen_t length = sizeof address;
    struct sigaction noted = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigaction(SIGRTMIN, &noted, NULL);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 128) < 0)
        return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    for (long n = 0; n < THREADS; n++) {
        pthread_t thread;
        void *(*run)(void *) = n < CLIENTS ? client : n == CLIENTS ? server : partner;
        if (pthread_create(&thread, NULL, run, (void *)n))
            return 1;
    }
    for (;;) {
        char byte;
        ssize_t got = read(0, &byte, 1);
        if (got < 0) {
            failed();
            continue;
        }
        if (got == 0)
            return 0;
        printf("%ld %d %ld", atomic_load(&failures), atomic_load(&last_error), atomic_load(&signals));
        for (int n = 0; n < THREADS; n++)
            printf(" %ld", atomic_load(&done[n]));
        printf("\n");
        fflush(stdout);
    }
}
