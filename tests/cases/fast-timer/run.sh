#!/bin/bash
# A function is called 2,000 times, with a timer of 20 kHz beside: a signal comes at most stops. Right: the program gets on.
# Where a jump's window was left for a handler in its middle, it never did; see also that strace lets it (else, no case).
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o t t.c || exit 99
control '2000 calls 0' timeout 10 ./t 50 2000
# Where a stop takes longer than the timer's time, no tracer gets on.
timeout 10 strace -o /dev/null ./t 50 2000 >out || { echo "no case: nor does strace let it get on"; exit 99; }
for strategy in auto jump boost xol; do
  for probe in ./t:work return:./t:work; do
    got="$(timeout 10 "$XOL" count --strategy $strategy --format json -o report $probe -- ./t 50 2000 2>err) $?"
    eq "$strategy, $probe" '2000 calls 0' "$got"
    [ "$got" == '2000 calls 0' ] && eq "$strategy, $probe, hits" 2000 "$(hits report 't:work\b')"
  done
done
done_
