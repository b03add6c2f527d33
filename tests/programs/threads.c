// Threads that call, allocate, wait for each other and end, over and over.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBED __attribute__((noinline, noclone, used))

enum { THREADS = 8 };

static long rounds = 200;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static long total, done;
static __thread long mine;

PROBED long work(long n)
{
	char text[32];
	char *copy;
	long value;

	snprintf(text, sizeof text, "%ld", n);
	copy = strdup(text);
	value = strtol(copy, NULL, 10);
	free(copy);
	mine += value;
	return value;
}

static void *thread(void *arg)
{
	long id = (long)arg;

	for (long i = 0; i < rounds; i++)
		work(id * rounds + i);
	pthread_mutex_lock(&lock);
	total += mine;
	done++;
	pthread_cond_broadcast(&turn);
	pthread_mutex_unlock(&lock);
	return (void *)mine;
}

static long finish(pthread_t thread)
{
	void *value;

	pthread_join(thread, &value);
	return (long)value;
}

// The first argument says how much is done; with a second the threads come one after the other, so
// that nothing depends on who was first.
int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	long joined = 0;

	if (argc > 1)
		rounds = atol(argv[1]);
	for (int again = 0; again < 5; again++) {
		for (long i = 0; i < THREADS; i++) {
			if (pthread_create(&threads[i], NULL, thread, (void *)i))
				return 1;
			if (argc > 2)
				joined += finish(threads[i]);
		}
		pthread_mutex_lock(&lock);
		while (done < THREADS * (again + 1))
			pthread_cond_wait(&turn, &lock);
		pthread_mutex_unlock(&lock);
		for (int i = 0; i < THREADS && argc < 3; i++)
			joined += finish(threads[i]);
	}
	printf("total %ld joined %ld\n", total, joined);
	return total == joined ? 3 : 1;
}
