/*
 * Two moments of a boot, on the guest's own CLOCK_MONOTONIC.
 *
 * As the first process (rdinit=/stamp) it puts the time into the environment as BENCH_START and executes /init: both inits are
 * measured from here, the start of their own program included. Under another one it prints how long ago that was, in microseconds, and
 * executes its arguments.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	long long now = t.tv_sec * 1000000000LL + t.tv_nsec;
	if (getpid() == 1) {
		char text[32];
		snprintf(text, sizeof text, "%lld", now);
		setenv("BENCH_START", text, 1);
		execv("/init", (char *[]){"/init", NULL});
		err(1, "/init");
	}
	const char *start = getenv("BENCH_START");
	printf("bench getty_us %lld\n", start ? (now - atoll(start)) / 1000 : -1);
	fflush(stdout);
	if (argc > 1) {
		execv(argv[1], argv + 1);
		err(1, "%s", argv[1]);
	}
	return 0;
}
