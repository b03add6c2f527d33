// Calls whose arguments point to something, or are flags: each is said on stdout as it should be told.
// Its first argument says what it does: files, fill, exec.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))
// What is called, and what it is called with.
#define SAYS(call, names) (printf("%s %s\n", #call, names), fflush(stdout), call)

// Fills what it is given, as far as it says.
PROBED int fill(char *to, const char *from, int n)
{
	int ret = n % 7 == 0 ? -1 : n;
	for (int i = 0; i < ret; i++)
		to[i] = from[n - 1 - i];
	return ret;
}

static void said(const char *what, long ret, const char *bytes, long n)
{
	printf("%s %ld ", what, ret);
	for (long i = 0; i < n; i++)
		printf("%02x", (unsigned char)bytes[i]);
	printf("\n");
	fflush(stdout);
}

static void reads(int fd, char *buf, size_t size)
{
	long n = read(fd, buf, size);
	said("read", n, buf, n);
}

static void files(const char *path)
{
	char buf[400] = "";
	int fd = SAYS(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640),
		      "O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC 0640");
	for (int i = 0; i < 300; i++)
		buf[i] = i < 20 ? "text\n\0\x1b\"\\\xc3\xa9\xff"[i % 12] : 'a' + i % 26;
	if (write(fd, buf, 300) != 300 || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	memset(buf, 'x', sizeof buf);
	reads(fd, buf, 4);
	reads(fd, buf, 8);
	reads(fd, buf, sizeof buf);
	reads(fd, buf, sizeof buf);
	reads(-1, buf, sizeof buf);
	close(fd);
	close(SAYS(open(path, O_WRONLY | O_APPEND | O_SYNC), "O_WRONLY|O_APPEND|O_SYNC"));
	close(SAYS(open(path, O_RDONLY | O_NOFOLLOW), "O_RDONLY|O_NOFOLLOW"));
	unlink(path);
	close(SAYS(openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY | O_NONBLOCK),
		   "O_RDONLY|O_DIRECTORY|O_NONBLOCK"));
	close(SAYS(openat(AT_FDCWD, "/dev", O_TMPFILE | O_RDWR, 0600), "O_RDWR|O_TMPFILE 0600"));
	close(SAYS(open("/nonexistent", O_RDONLY | 0x40000000), "O_RDONLY|0x40000000"));
	close(SAYS(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0),
		   "AF_INET6 SOCK_STREAM|SOCK_CLOEXEC"));
	SAYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	     "PROT_READ|PROT_WRITE MAP_PRIVATE|MAP_ANONYMOUS");
	SAYS(raise(SIGURG), "SIGURG");
	SAYS(access("/", R_OK | X_OK), "R_OK|X_OK");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "files") && argc > 2) {
		files(argv[2]);
	} else if (!strcmp(what, "fill")) {
		char to[64], from[64];
		for (int i = 0; i < 4000; i++) {
			int n = i % 50;
			memset(to, '-', sizeof to);
			for (int k = 0; k < n; k++)
				from[k] = 'a' + (i + k) % 26;
			int ret = fill(to, from, n);
			if (printf("%d %.*s %.*s\n", ret, n, from, ret < 0 ? 0 : ret, to) < 0)
				return 1;
		}
	} else if (!strcmp(what, "exec") && argc > 2) {
		execvp(argv[2], argv + 2);
	} else if (!strcmp(what, "many")) {
		char *args[102] = { "true" };
		for (int i = 1; i < 101; i++)
			args[i] = "x";
		execv("/bin/true", args);
	}
	return 0;
}
