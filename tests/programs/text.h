// Whether the code in memory is the code in the files.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int compare_object(struct dl_phdr_info *info, size_t size, void *changed)
{
	const char *name = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
	int file = open(name, O_RDONLY);
	static char want[1 << 16];

	(void)size;
	if (file < 0) // the vDSO
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		const char *have = (const char *)info->dlpi_addr + segment->p_vaddr;

		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
			continue;
		for (size_t at = 0; at < segment->p_filesz; at += sizeof want) {
			size_t left = segment->p_filesz - at;
			ssize_t n = left < sizeof want ? left : sizeof want;

			if (pread(file, want, n, segment->p_offset + at) != n)
				return 1;
			for (ssize_t j = 0; j < n; j++)
				if (have[at + j] != want[j]) {
					fprintf(stderr, "%s: %02x instead of %02x at %lx\n", name,
						have[at + j] & 255, want[j] & 255,
						(long)(segment->p_vaddr + at + j));
					++*(long *)changed;
				}
		}
	}
	close(file);
	return 0;
}

// The number of bytes of text that differ from the file's.
static long text_changed(void)
{
	long changed = 0;

	dl_iterate_phdr(compare_object, &changed);
	return changed;
}
