#!/bin/bash
# Somebody attaches to a program whose first thread has ended: /proc/PID shows no memory and no files of it.
# Right: its objects are found by another thread, and its hits counted.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o f f.c -pthread || exit 99
control 'wrong 0 0' ./f 1
for strategy in auto jump boost; do
  ./f 3 >out & program=$!; later $program
  within 2 grep -q 'State:.Z' /proc/$program/status
  timeout 10 "$XOL" count --strategy $strategy --format json -o report -p $program --duration 0.3 f:work 2>err
  eq "$strategy, status" 0 $?
  [ "$(hits report work)" -ge 1 ] && ok "$strategy, hits: $(hits report work)" || bad "$strategy, hits: $(hits report work)"
  end_of $program; eq "$strategy, the program" 'wrong 0 0' "$(cat out) $?"
done
done_
