#include <arpa/inet.h>
#include <sys/socket.h>
/* Unwind information whose program jumps back to itself, for ever: DW_CFA_def_cfa_expression { DW_OP_skip -3 }. */
__attribute__((noinline)) static long ask(int fd, void *to)
{
    long result;
    __asm__ volatile(".cfi_escape 0x0f, 3, 0x2f, 0xfd, 0xff\n\tsyscall"
                     : "=a"(result) : "0"(42L), "D"((long)fd), "S"(to), "d"(16L) : "rcx", "r11", "memory");
    return result;
}
int main(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return ask(socket(AF_INET, SOCK_STREAM, 0), &to) == 0;
}
