/* flood PORT SYNS: SYNs on loopback from ever other ports, as fast as a raw socket takes them. Takes CAP_NET_RAW. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64

static unsigned checksum(const void *data, size_t length, unsigned sum)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i += 2)
        sum += (unsigned)bytes[i] << 8 | bytes[i + 1];
    return sum;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
    if (raw < 0) {
        perror("socket");
        return 1;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static struct tcphdr segments[BATCH];
    struct iovec data[BATCH];
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        data[i] = (struct iovec){&segments[i], sizeof segments[i]};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &data[i], .msg_iovlen = 1};
    }
    long most = atol(argv[2]);
    for (long n = 0; n < most; n += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            struct tcphdr *tcp = &segments[i];
            memset(tcp, 0, sizeof *tcp);
            tcp->source = htons((unsigned short)(1024 + (n + i) % 31000));
            tcp->dest = htons((unsigned short)atoi(argv[1]));
            tcp->seq = htonl((unsigned)(n + i));
            tcp->doff = 5;
            tcp->syn = 1;
            tcp->window = htons(1024);
            /* The pseudo-header: twice 127.0.0.1, protocol 6, 20 bytes. */
            unsigned sum = checksum(tcp, sizeof *tcp, 2 * (0x7f00 + 1) + 6 + 20);
            while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
            tcp->check = htons((unsigned short)~sum);
        }
        if (sendmmsg(raw, messages, BATCH, 0) < 0) {
            perror("sendmmsg");
            return 1;
        }
    }
    return 0;
}
