#!/bin/bash
# A probed program moves its own text by syscall(2), runs it there and moves it back.
# Right: it runs as without xol: started by it, visited, and after the visit. (What is counted at the other place is
# left open.)
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -o move move.c || exit 99
control 'wrong 0 0' ./move
for strategy in boost xol jump auto; do
  got=$(timeout 20 "$XOL" count ./move:work --strategy $strategy -o report -- ./move 2>err)
  eq "$strategy, started" '0 wrong 0' "$? $got"
  ./move >out & program=$!; later $program
  sleep 0.2
  timeout 20 "$XOL" count ./move:work --strategy $strategy --duration 0.5 -o report -p $program 2>err
  end_of $program; eq "$strategy, visited" '0 wrong 0' "$? $(cat out)"
done
done_
