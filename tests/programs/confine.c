// confine HOW=CALL,CALL… … -- CMD ARG…: runs CMD under a seccomp filter that answers these system calls with an error
// (errno) or a signal (trap), or ends who makes them (kill), and lets the others through, as containers' profiles do.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *name;
	int number;
} calls[] = {
#define CALL(name) { #name, __NR_##name }
	CALL(acct), CALL(add_key), CALL(bpf), CALL(clock_adjtime), CALL(clock_settime), CALL(delete_module),
	CALL(finit_module), CALL(init_module), CALL(kcmp), CALL(kexec_load), CALL(keyctl), CALL(lookup_dcookie),
	CALL(mbind), CALL(memfd_create), CALL(migrate_pages), CALL(mount), CALL(move_pages), CALL(name_to_handle_at),
	CALL(nfsservctl), CALL(open_by_handle_at), CALL(perf_event_open), CALL(personality), CALL(pidfd_getfd),
	CALL(pidfd_open), CALL(pivot_root), CALL(process_vm_readv), CALL(process_vm_writev), CALL(quotactl),
	CALL(reboot), CALL(request_key), CALL(rt_tgsigqueueinfo), CALL(setns), CALL(settimeofday), CALL(swapoff),
	CALL(swapon), CALL(syslog), CALL(umount2), CALL(unshare), CALL(userfaultfd), CALL(vhangup),
};

static struct sock_filter program[128];
static int length;

static void add(unsigned short code, unsigned char yes, unsigned char no, unsigned value)
{
	program[length++] = (struct sock_filter){ code, yes, no, value };
}

static int answer(char *text, unsigned how)
{
	for (char *name = strtok(text, ","); name; name = strtok(NULL, ",")) {
		size_t i = 0;

		while (i < sizeof calls / sizeof *calls && strcmp(name, calls[i].name))
			i++;
		if (i == sizeof calls / sizeof *calls)
			return fprintf(stderr, "confine: no such call: %s\n", name), 0;
		add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, calls[i].number);
		add(BPF_RET | BPF_K, 0, 0, how);
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct sock_fprog filter = { 0, program };
	int next = 1;

	add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
	for (; next < argc && strcmp(argv[next], "--"); next++) {
		char *text = strchr(argv[next], '=');
		char how = argv[next][0];

		if (!text || !answer(text + 1, how == 'k' ? SECCOMP_RET_KILL_PROCESS :
						how == 't' ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | EPERM))
			return 99;
	}
	add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
	filter.len = length;
	if (next + 1 >= argc || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		return perror("confine"), 99;
	execvp(argv[next + 1], argv + next + 1);
	return perror(argv[next + 1]), 127;
}
