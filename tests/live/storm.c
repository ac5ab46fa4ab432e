/* storm PORT THREADS CONNECTS: non-blocking connects on loopback, each closed at once. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in to;
static long each;

static void *work(void *unused)
{
    (void)unused;
    for (long i = 0; i < each; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            perror("socket");
            exit(1);
        }
        if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS && errno != ECONNREFUSED) {
            perror("connect");
            exit(1);
        }
        close(fd);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int threads = atoi(argv[2]);
    each = atol(argv[3]) / threads;
    to.sin_family = AF_INET;
    to.sin_port = htons((unsigned short)atoi(argv[1]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pthread_t list[64];
    for (int i = 0; i < threads && i < 64; i++)
        pthread_create(&list[i], NULL, work, NULL);
    for (int i = 0; i < threads && i < 64; i++)
        pthread_join(list[i], NULL);
    return 0;
}
