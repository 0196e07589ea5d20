/*
 * The least that a container can cost: a cgroup, one clone3 with all namespaces into it, a bind mount, /proc, pivot_root, exec.
 * No overlay, no /dev, no /sys, no capabilities, no seccomp, no masks, no record on disk.
 *
 *   bare CGROUP ROOT PROGRAM [ARG...]      CGROUP: a directory of cgroup v2 to be made, and removed at the end
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* linux/sched.h, which clashes with sched.h in some C libraries. */
struct clone3_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
#define INTO_CGROUP 0x200000000ULL
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

static void container(char **argv)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(argv[2], argv[2], NULL, MS_BIND, NULL) || chdir(argv[2]))
		err(125, "%s", argv[2]);
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		err(125, "proc");
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
		err(125, "pivot_root");
	execv(argv[3], argv + 3);
	err(127, "%s", argv[3]);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		errx(2, "usage: bare CGROUP ROOT PROGRAM [ARG...]");
	int group = mkdir(argv[1], 0755) ? -1 : open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (group < 0)
		err(125, "%s", argv[1]);
	struct clone3_args args = {
		.flags = INTO_CGROUP | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)group,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0)
		err(125, "clone3");
	if (pid == 0)
		container(argv);
	int status;
	if (waitpid((pid_t)pid, &status, 0) < 0 || rmdir(argv[1]))
		err(125, "%s", argv[1]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
