// Calls that are left by longjmp and by an exception, and calls that come behind them.
#include <csetjmp>
#include <cstdio>
#define PROBED extern "C" __attribute__((noipa))
static volatile int sink;
static jmp_buf place;
PROBED int leaves(int n) { sink = sink + 1; longjmp(place, n); }
PROBED int around(int n) { sink = sink + 1; return leaves(n) + 1; }
PROBED int throws(int n) { sink = sink + 1; if (n % 2) throw n; return n; }
PROBED int catches(int n) { try { return throws(n); } catch (int thrown) { return -thrown; } }
PROBED int next(int n) { sink = sink + 1; return n; }
int main() {
    for (volatile int n = 1; n < 4; n = n + 1) {
        if (!setjmp(place)) around(n);
        next(n);
        catches(n);
        next(-n);
    }
    puts("done");
}
