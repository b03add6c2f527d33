#!/bin/bash
# A program has the kernel answer its calls by SIGSYS (Syscall User Dispatch, as Wine does), and is attached to meanwhile.
# Right: its handler sees its own calls and no others, and it goes on; the calls that xol has it make go past the dispatch.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -o d d.c || exit 99
wanted='wrong 0, of other places 0, missing 0 0'
control "$wanted" ./d 1
for strategy in auto jump boost xol; do
  ./d 3 >out & program=$!; later $program
  sleep 0.2
  for visit in 1 2 3; do
    timeout 10 "$XOL" count --strategy $strategy -o report -p $program --duration 0.1 d:work 2>err
    eq "$strategy, visit $visit, status" 0 $?
  done
  end_of $program; eq "$strategy, the program" "$wanted" "$(cat out) $?"
  eq "$strategy, started" "$wanted" "$(timeout 10 "$XOL" count --strategy $strategy -o report d:work -- ./d 1 2>err) $?"
done
done_
