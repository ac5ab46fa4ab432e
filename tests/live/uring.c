/* uring RESOLVER SERVER PORT: what no traced call shows. A query for a.example.lab by sendmsg(2), then one for
 * b.example.lab by io_uring's sendmsg from a socket of its own, then a connect by io_uring. */
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ring;
static unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;

static int set_up(void)
{
    struct io_uring_params p = {0};
    ring = (int)syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0)
        return -1;
    size_t sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(0, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    char *cq = mmap(0, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
    sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED)
        return -1;
    sq_tail = (unsigned *)(sq + p.sq_off.tail);
    sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    sq_array = (unsigned *)(sq + p.sq_off.array);
    cq_head = (unsigned *)(cq + p.cq_off.head);
    cq_tail = (unsigned *)(cq + p.cq_off.tail);
    cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    return 0;
}

/* One operation, waited for. */
static int operate(int opcode, int fd, const void *what, unsigned length, unsigned long long offset)
{
    unsigned tail = *sq_tail, at = tail & *sq_mask;
    struct io_uring_sqe *sqe = &sqes[at];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = (unsigned char)opcode;
    sqe->fd = fd;
    sqe->addr = (unsigned long long)(size_t)what;
    sqe->len = length;
    sqe->off = offset;
    sq_array[at] = at;
    __atomic_store_n(sq_tail, tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0)
        return -1;
    unsigned head = *cq_head;
    if (head == __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE))
        return -1;
    int result = cqes[head & *cq_mask].res;
    __atomic_store_n(cq_head, head + 1, __ATOMIC_RELEASE);
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    if (set_up()) {
        perror("io_uring");
        return 77;
    }
    static char query[] = "\0\7\1\0\0\1\0\0\0\0\0\0\1a\7example\3lab\0\0\1\0\1";
    struct sockaddr_in resolver = {.sin_family = AF_INET, .sin_port = htons(53)};
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
    resolver.sin_addr.s_addr = inet_addr(argv[1]);
    server.sin_addr.s_addr = inet_addr(argv[2]);
    struct iovec data = {query, sizeof query - 1};
    struct msghdr message = {.msg_name = &resolver, .msg_namelen = sizeof resolver, .msg_iov = &data, .msg_iovlen = 1};
    int first = socket(AF_INET, SOCK_DGRAM, 0), second = socket(AF_INET, SOCK_DGRAM, 0);
    if (sendmsg(first, &message, 0) < 0) {
        perror("sendmsg");
        return 1;
    }
    query[13] = 'b';
    int sent = operate(IORING_OP_SENDMSG, second, &message, 1, 0);
    int connected = operate(IORING_OP_CONNECT, socket(AF_INET, SOCK_STREAM, 0), &server, 0, sizeof server);
    fprintf(stderr, "sent %d, connected %d\n", sent, connected);
    usleep(300000);
    return sent < 0;
}
