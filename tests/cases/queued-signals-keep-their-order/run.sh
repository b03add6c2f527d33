#!/bin/bash
# Signals are queued to a thread that is at a probe all the time. Right: all come, in their order, with their values and
# senders; also if xol comes and goes meanwhile.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o q q.c -pthread || exit 99
control 'wrong 0, 400 and 400 of 400 0' ./q 400
for strategy in boost xol jump step; do
  got="$(timeout 30 "$XOL" count --strategy $strategy -o /dev/null ./q:work ./q:queued -- ./q 400 2>err) $?"
  eq "$strategy, $(grep others err)" 'wrong 0, 400 and 400 of 400 0' "$got"
done
./q 2000 >out 2>err & program=$!; later $program
for ((visits = 0; visits < 8; visits++)); do
  kill -0 $program 2>/dev/null || break
  timeout -s KILL 10 "$XOL" count --strategy boost --duration 0.1 -o /dev/null work -p $program 2>>visits
done
within 60 sh -c "! kill -0 $program" || bad "the program hangs"
end_of $program; eq "visited $visits times: status" 0 $?
eq "visited $visits times" 'wrong 0, 2000 and 2000 of 2000' "$(cat out)"
done_
