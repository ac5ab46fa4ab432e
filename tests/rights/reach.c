/* reach NAME SECONDS ROLE: tries to reach every task of every process called NAME, again and again for so long (0: once).
   Prints what it reached, and how many processes it tried. Roles: T, the tracer (its parent is called otherwise); A, the
   analysis process (it leads a session); C, the command's child before its exec. Tasks of ROLE (-: none) are not seized:
   a seized task cannot be traced by presyn, which then runs no command. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *name;
static char not_seized;
static int seen[1024], seen_role[1024], seen_count, tasks;

static long field(const char *status, const char *key)
{
    const char *found = strstr(status, key);
    return found ? strtol(found + strlen(key), NULL, 10) : -1;
}

/* The role of a live process of this name; 0: it is none, or ends. One that ends gives up its memory before it is a zombie:
 * from then on the kernel asks for no access (there is nothing left to protect), and its status has no sizes. */
static int role(int pid)
{
    char path[64], status[4096], line[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, status, sizeof status - 1);
    close(fd);
    if (got <= 0)
        return 0;
    status[got] = 0;
    snprintf(line, sizeof line, "Name:\t%s\n", name);
    if (strncmp(status, line, strlen(line)) || strstr(status, "State:\tZ") || strstr(status, "State:\tX") ||
        !strstr(status, "VmSize:"))
        return 0;
    if (field(status, "NSsid:") == pid)
        return 'A';
    int parent = (int)field(status, "PPid:");
    char comm[64] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", parent);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    got = fd < 0 ? 0 : read(fd, comm, sizeof comm - 1);
    close(fd);
    comm[got > 0 ? got - 1 : 0] = 0;
    return strcmp(comm, name) ? 'T' : 'C';
}

static void result(int pid, int tid, const char *how, int failed, int error, const char *what)
{
    /* Gone, or a kernel that does not know it. EBADF would mean that only the descriptor was missing. */
    if (failed && (error == EPERM || error == EACCES || error == ESRCH || error == ENOENT || error == EINVAL))
        return;
    /* It may have run its program, or ended, in between. */
    int now = role(pid);
    if (now)
        printf("REACHED %c %d/%d %s %s %s\n", now, pid, tid, how, failed ? strerror(error) : "done", what);
}

static void attack(int pid, int tid, int as)
{
    char path[64], target[256], byte = 0;
    tasks++;
    for (int writing = 0; writing < 2; writing++) {
        snprintf(path, sizeof path, "/proc/%d/mem", tid);
        int mem = open(path, (writing ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
        result(pid, tid, writing ? "mem-write" : "mem-read", mem < 0, errno, "");
        close(mem);
    }
    struct iovec local = {&byte, 1}, remote = {(void *)0x1000, 1};
    long got = process_vm_readv(tid, &local, 1, &remote, 1, 0);
    result(pid, tid, "process_vm_readv", got < 0, errno, "");
    int pidfd = (int)syscall(SYS_pidfd_open, tid, pid == tid ? 0 : O_EXCL /* PIDFD_THREAD */);
    for (int fd = 0; pidfd >= 0 && fd <= 64; fd++) {
        int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0), error = errno;
        ssize_t length = 0;
        if (copy >= 0) {
            snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
            length = readlink(path, target, sizeof target - 1);
        }
        target[length > 0 ? length : 0] = 0;
        result(pid, tid, "pidfd_getfd", copy < 0, error, target);
        close(copy);
    }
    close(pidfd);
    if (as == not_seized)
        return;
    long seized = ptrace(PTRACE_SEIZE, tid, 0, 0);
    result(pid, tid, "PTRACE_SEIZE", seized < 0, errno, "");
    if (seized == 0)
        exit(3); /* Its end lets the task go. */
}

static void sweep(void)
{
    DIR *all = opendir("/proc");
    for (struct dirent *entry; all && (entry = readdir(all));) {
        int pid = atoi(entry->d_name), as;
        if (!isdigit(entry->d_name[0]) || pid == getpid() || !(as = role(pid)))
            continue;
        int known = 0;
        while (known < seen_count && seen[known] != pid)
            known++;
        if (known == seen_count && seen_count < 1024)
            seen[seen_count++] = pid;
        seen_role[known % 1024] = as;
        char path[300];
        snprintf(path, sizeof path, "/proc/%d/task", pid);
        DIR *threads = opendir(path);
        for (struct dirent *thread; threads && (thread = readdir(threads));)
            if (isdigit(thread->d_name[0]))
                attack(pid, atoi(thread->d_name), as);
        if (threads)
            closedir(threads);
    }
    if (all)
        closedir(all);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    name = argv[1];
    not_seized = argv[3][0];
    setvbuf(stdout, NULL, _IOLBF, 0);
    time_t end = time(NULL) + atoi(argv[2]);
    do {
        sweep();
    } while (time(NULL) < end);
    int count[128] = {0};
    for (int i = 0; i < seen_count; i++)
        count[seen_role[i]]++;
    printf("tried %d tracers %d analyses %d children %d tasks\n", count['T'], count['A'], count['C'], tasks);
    return 0;
}
