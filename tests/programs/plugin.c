// A shared object that is loaded, unloaded and loaded again; probed before its constructor runs.
#define PROBED __attribute__((noinline, noclone, used))

static long calls;

PROBED long plugin_work(long n)
{
	return ++calls + n;
}

static long (*resolve(void))(long)
{
	return plugin_work;
}

long plugin_chosen(long n) __attribute__((ifunc("resolve")));

__attribute__((constructor)) static void born(void)
{
	plugin_work(1000);
}

__attribute__((destructor)) static void dies(void)
{
	plugin_work(2000);
}
