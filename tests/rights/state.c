/* Prints everything that an exec passes on, one `key<tab>value` a line, then runs a shell command.
   Nothing is opened before the descriptors are listed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* A file's lines, each with a key: what is before the separator, or the first `width` bytes. */
static void lines(FILE *out, const char *name, const char *path, const char *separator, size_t width)
{
    char line[4096];
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(out, "%s\tunreadable\n", name);
        return;
    }
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *value = separator ? strstr(line, separator) : NULL;
        size_t key = value ? (size_t)(value - line) : strnlen(line, width);
        fprintf(out, "%s:%.*s\t%s\n", name, (int)key, line, line + key);
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    static char open_fds[4096];
    for (int fd = 0; fd < 4096; fd++)
        open_fds[fd] = fcntl(fd, F_GETFD) >= 0;
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    for (int fd = 0; fd < 4096; fd++) {
        char path[64], name[64], target[4096];
        if (!open_fds[fd])
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t got = readlink(path, target, sizeof target - 1);
        target[got < 0 ? 0 : got] = 0;
        fprintf(out, "fd:%d\t%s\n", fd, target);
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
        snprintf(name, sizeof name, "fdinfo:%d", fd);
        lines(out, name, path, ":", 0);
    }
    lines(out, "status", "/proc/self/status", ":", 0);
    lines(out, "limits", "/proc/self/limits", NULL, 26);
    lines(out, "cgroup", "/proc/self/cgroup", ":", 0);
    lines(out, "oom_score_adj", "/proc/self/oom_score_adj", NULL, 0);
    lines(out, "timerslack_ns", "/proc/self/timerslack_ns", NULL, 0);
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &cpus))
            fprintf(out, "cpu:%d\tallowed\n", cpu);
    fprintf(out, "nice\t%d\n", getpriority(PRIO_PROCESS, 0));
    int death = 0;
    prctl(PR_GET_PDEATHSIG, &death);
    fprintf(out, "pdeathsig\t%d\n", death);
    /* A launcher that leads its group or session has its program in it as well. */
    pid_t of[] = {getpgid(0), getsid(0)};
    const char *names[] = {"pgid", "sid"};
    for (int i = 0; i < 2; i++)
        if (of[i] == getpid() || of[i] == getppid())
            fprintf(out, "%s\tthe launcher's own\n", names[i]);
        else
            fprintf(out, "%s\t%d\n", names[i], of[i]);
    fclose(out);
    fwrite(text, 1, length, stdout);
    puts("==");
    fflush(stdout);
    return argc > 1 && system(argv[1]) != 0;
}
