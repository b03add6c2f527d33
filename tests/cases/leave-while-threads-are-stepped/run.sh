#!/bin/bash
# xol leaves a program whose threads come to a site all the time, by each strategy. Right: the program goes on. Where a step was
# on its way when its thread was stopped, its SIGTRAP came to the program (4 of 30 visits with `step`).
. "$(dirname "$0")/../lib.sh"
gcc -O2 -o pt pt.c -pthread || exit 99
control 'fine 0' ./pt 1
for of in step:80 xol:10 boost:10; do
  strategy=${of%:*}
  ./pt 100 >out & program=$!; later $program
  sleep 0.1
  for ((n = 0; n < ${of#*:}; n++)); do
    timeout 20 "$XOL" count --strategy $strategy work --duration 0.02 -o report -p $program 2>err || break
  done
  eq "$strategy: visits" ${of#*:} $n
  kill -TERM $program; end_of $program; eq "$strategy: the program's end" 143 $?
done
done_
