// Exceptions through frames whose functions are probed.
#include <cstdio>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#define PROBED __attribute__((noinline, used))

struct Counted {
	static int alive;
	Counted() { alive++; }
	~Counted() { alive--; }
};
int Counted::alive;

PROBED int deep(int n)
{
	Counted here;
	if (n == 0)
		throw std::runtime_error("bottom");
	if (n == 5)
		try {
			return deep(n - 1) + 1;
		} catch (const std::logic_error &) {
			return -1;
		}
	return deep(n - 1) + 1;
}

PROBED std::string text(int n)
{
	std::ostringstream out;
	out << "n=" << n << " " << std::string(n, 'x');
	return out.str();
}

PROBED void rethrow(int n)
{
	try {
		deep(n);
	} catch (const std::exception &e) {
		throw std::out_of_range(std::string("again: ") + e.what());
	}
}

// Exceptions past calls that were left by a tail call, from one and the same place.
extern "C" {
PROBED long t_throws(long n)
{
	if (n % 2)
		throw n;
	return n * 2;
}
PROBED long t_tail(long n) { return t_throws(n + 2); }
PROBED long t_over(long n) { return t_throws(n) + 1; }
PROBED long t_catches(long n)
{
	try {
		long value = t_tail(n);
		return value + t_over(n / 2);
	} catch (long thrown) {
		return -thrown;
	}
}
}

int main()
{
	long sum = 0;
	for (long n = 0; n < 40; n++)
		sum += t_catches(n);
	std::printf("sum %ld\n", sum);
	std::map<std::string, int> caught;
	for (int n = 0; n < 60; n++) {
		try {
			if (n % 3 == 0)
				rethrow(n);
			else if (n % 3 == 1)
				deep(n);
			else
				std::vector<int>().at(n);
		} catch (const std::out_of_range &e) {
			caught[std::string("range ") + (n % 3 ? "vector" : e.what())]++;
		} catch (const std::exception &e) {
			caught[e.what()]++;
		}
	}
	for (const auto &[what, times] : caught)
		std::printf("%s: %d\n", what.c_str(), times);
	std::printf("%s\nalive %d\n", text(20).c_str(), Counted::alive);
	auto shared = std::make_shared<std::string>(text(3));
	std::printf("%s\n", shared->c_str());
	// Uncaught, through a noexcept function: terminate and abort.
	std::fflush(stdout);
	if (Counted::alive == 0)
		[]() noexcept { deep(3); }();
	return 0;
}
