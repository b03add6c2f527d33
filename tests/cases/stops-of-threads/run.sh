#!/bin/bash
# A program of several threads is a shell's job: it is stopped and continued (SIGSTOP, SIGTSTP, SIGCONT). xol visits it meanwhile, again
# and again. Right: its parent is told of each stop and each continuation, as without xol.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -pthread -o jobs jobs.c || exit 99
right='not reported: stops 0, continuations 0'
for stop in 19 20; do
  ./jobs $stop 1 >out 2>err
  [ "$(sed 1d out)" == "$right" ] || { echo "no case: without xol: $(cat out)"; exit 99; }
  for strategy in boost jump; do
    ./jobs $stop 2 >out 2>err & program=$!; later $program
    sleep 0.2; child=$(head -1 out)
    while kill -0 $program 2>/dev/null && [ "$(wc -l <out)" == 1 ]; do
      timeout -s KILL 10 "$XOL" count ./jobs:f --strategy $strategy --duration 0.05 -o report -p "$child" 2>xolerr
    done
    end_of $program
    eq "signal $stop, $strategy" "$right" "$(sed 1d out)"
  done
done
done_
