/* sends HOW SOCKET PORT COUNT LENGTH: COUNT sends of LENGTH bytes in a loop to 127.0.0.1; prints the seconds of the loop.
 * HOW: send, write, sendmsg, sendto (with the address), sendmsgto (likewise); or socket: COUNT times socket and close.
 * SOCKET: tcp, udp (connected), unconnected. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    const char *how = argv[1];
    long count = atol(argv[4]), length = atol(argv[5]);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static char bytes[65536];
    int style = strcmp(argv[2], "tcp") ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(AF_INET, style, 0);
    if (strcmp(argv[2], "unconnected") && connect(fd, (struct sockaddr *)&to, sizeof to))
        return 1;
    struct iovec piece = {bytes, (size_t)length};
    struct msghdr plain = {.msg_iov = &piece, .msg_iovlen = 1}, named = plain;
    named.msg_name = &to;
    named.msg_namelen = sizeof to;
    double began = now();
    for (long i = 0; i < count; i++) {
        ssize_t sent = length;
        if (!strcmp(how, "send"))
            sent = send(fd, bytes, (size_t)length, 0);
        else if (!strcmp(how, "write"))
            sent = write(fd, bytes, (size_t)length);
        else if (!strcmp(how, "sendmsg"))
            sent = sendmsg(fd, &plain, 0);
        else if (!strcmp(how, "sendto"))
            sent = sendto(fd, bytes, (size_t)length, 0, (struct sockaddr *)&to, sizeof to);
        else if (!strcmp(how, "sendmsgto"))
            sent = sendmsg(fd, &named, 0);
        else
            close(socket(AF_INET, SOCK_DGRAM, 0));
        if (sent != length)
            return 1;
    }
    printf("%.6f\n", now() - began);
    return 0;
}
