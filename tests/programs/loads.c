// Loads the object named by its argument ten times; closes it every other time.
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < 10; i++) {
		void *object = dlopen(argv[1], i % 3 ? RTLD_NOW : RTLD_LAZY);
		long (*work)(long), (*chosen)(long);

		if (!object) {
			printf("%s\n", dlerror());
			return 1;
		}
		work = (long (*)(long))dlsym(object, "plugin_work");
		chosen = (long (*)(long))dlsym(object, "plugin_chosen");
		printf("%d: %ld %ld\n", i, work(i), chosen(i));
		dlclose(object);
	}
	return 0;
}
