/*
 * Run a command again and again, and say what one run costs: the one spawner that is common to a program and its peer.
 *
 *   spawn [-n RUNS] [-w WARM-UPS] [-c CPU-STAT] [-r ROOT] COMMAND [ARG...]
 *
 * Prints three lines: `cpu US` (mean of one run: user and system time), `wall US...` (of each run, from vfork to wait) and
 * `peak KIB` (the largest VmHWM of a process that the command or its children waited for).
 * CPU time is that of the processes waited for. With -c it is the growth of `usage_usec` in that cgroup v2 cpu.stat, which holds
 * processes that outlive the command, too; a pause lets them end. -r changes the root directory first, so that each run is free of it.
 * Each `@` in an argument becomes the number of the run, for commands that want a new name each time.
 * The command's output is dropped, its errors are shown; if a run fails, so does this program.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t usage_of_group(int fd)
{
	char text[512];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	if (n <= 0)
		err(1, "read cpu.stat");
	text[n] = 0;
	const char *at = strstr(text, "usage_usec ");
	if (!at)
		errx(1, "cpu.stat without usage_usec");
	return strtoll(at + strlen("usage_usec "), NULL, 10);
}

/* The sum of what has been waited for, if no group is watched. */
static int64_t usage_of_children(void)
{
	struct rusage r;
	getrusage(RUSAGE_CHILDREN, &r);
	return (int64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}

static int64_t usage(int group)
{
	if (group < 0)
		return usage_of_children();
	/* What was left running is given time to end. */
	usleep(200000);
	return usage_of_group(group);
}

static char **numbered(char **template, int run)
{
	static char *args[64];
	static char buffers[64][512];
	int i = 0;
	for (; template[i] && i < 63; i++) {
		size_t used = 0;
		for (const char *c = template[i]; *c && used < sizeof buffers[i] - 12; c++) {
			if (*c == '@')
				used += sprintf(buffers[i] + used, "%d", run);
			else
				buffers[i][used++] = *c;
		}
		buffers[i][used] = 0;
		args[i] = buffers[i];
	}
	args[i] = NULL;
	return args;
}

static int64_t run_once(char **template, int run, const posix_spawn_file_actions_t *streams)
{
	char **args = numbered(template, run);
	int64_t start = now_us();
	pid_t pid;
	int status, error = posix_spawnp(&pid, args[0], streams, NULL, args, environ);
	if (error)
		errx(1, "%s: %s", args[0], strerror(error));
	if (waitpid(pid, &status, 0) < 0)
		err(1, "waitpid");
	int64_t wall = now_us() - start;
	if (status)
		errx(1, "%s: run %d ended with wait status %#x", args[0], run, status);
	return wall;
}

int main(int argc, char **argv)
{
	int runs = 1, warm_ups = 1, group = -1, option;
	const char *root = NULL;
	while ((option = getopt(argc, argv, "+n:w:c:r:")) != -1) {
		switch (option) {
		case 'n': runs = atoi(optarg); break;
		case 'w': warm_ups = atoi(optarg); break;
		case 'c':
			if ((group = open(optarg, O_RDONLY | O_CLOEXEC)) < 0)
				err(1, "%s", optarg);
			break;
		case 'r': root = optarg; break;
		default: return 2;
		}
	}
	if (optind == argc || runs < 1)
		errx(2, "usage: spawn [-n RUNS] [-w WARM-UPS] [-c CPU-STAT] [-r ROOT] COMMAND [ARG...]");
	if (root && (chroot(root) || chdir("/")))
		err(1, "chroot %s", root);
	posix_spawn_file_actions_t streams;
	posix_spawn_file_actions_init(&streams);
	posix_spawn_file_actions_addopen(&streams, 1, "/dev/null", O_WRONLY, 0);
	int64_t *walls = calloc(runs, sizeof *walls);
	if (!walls)
		err(1, "memory");
	for (int run = 0; run < warm_ups; run++)
		run_once(argv + optind, run, &streams);
	int64_t before = usage(group);
	for (int run = 0; run < runs; run++)
		walls[run] = run_once(argv + optind, warm_ups + run, &streams);
	int64_t after = usage(group);
	struct rusage r;
	getrusage(RUSAGE_CHILDREN, &r);
	printf("cpu %.1f\nwall", (double)(after - before) / runs);
	for (int run = 0; run < runs; run++)
		printf(" %lld", (long long)walls[run]);
	printf("\npeak %ld\n", r.ru_maxrss);
	return 0;
}
