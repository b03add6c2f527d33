#!/bin/bash
# Somebody attaches to a program that execs all the time: by its only thread, or by one beside others, whose number changes
# by that.
# Right: each visit succeeds, within the time of a visit, and the program comes to its end.
. "$(dirname "$0")/../lib.sh"
gcc -O2 -o ex ex.c -pthread || exit 99
for how in alone thread; do
  control "right 0" ./ex $how 20
  ./ex $how 100000 >out & program=$!; later $program
  sleep 0.2
  failed=0 slow=0
  for _ in {1..12}; do
    start=$(date +%s%N)
    timeout -k 1 5 "$XOL" count -o /dev/null ./ex:f -p $program --duration 0.1 2>err || { failed=$((failed + 1)); tail -1 err >>why; }
    slow=$((slow + (($(date +%s%N) - start) / 1000000 > 2000)))
  done
  eq "$how: of 12 visits, those that failed" 0 $failed
  eq "$how: of 12 visits, those that took over 2 s" 0 $slow
  kill -0 $program 2>/dev/null && ok "$how: the program goes on" || bad "$how: the program has ended"
  kill -TERM $program; end_of $program
  eq "$how: the program's end" 143 $?
done
[ $fail = 0 ] || sed 's/[0-9]\+/N/g; s/^/    | /' why | sort | uniq -c | sort -rn | head -3
done_
