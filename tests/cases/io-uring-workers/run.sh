#!/bin/bash
# Somebody attaches to a program with io_uring: kernel threads stand in its list of threads, and never run its code.
# Right: they are let be; the program survives xol being killed, and there are slots and jumps as elsewhere.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o u u.c || exit 99
for sqpoll in 0 1; do
  control 'bad 0 0' ./u 1 $sqpoll
  for strategy in boost jump; do
    ./u 3 $sqpoll >out & program=$!; later $program
    within 5 sh -c "[ \$(ls /proc/$program/task | wc -l) -gt 1 ]"
    "$XOL" count --strategy $strategy --format json -o report -p $program --duration 0.5 ./u:work 2>err
    eq "$strategy, sqpoll $sqpoll, status" 0 $?
    eq "$strategy, sqpoll $sqpoll, complaints" '' "$(cat err)"
    [ "$(hits report work)" -ge 1 ] && ok "$strategy, hits: $(hits report work)" || bad "$strategy, hits: $(hits report work)"
    end_of $program; eq "$strategy, sqpoll $sqpoll, the program" 'bad 0 0' "$(cat out) $?"
  done
done
done_
