#!/bin/bash
# Assembly uses the stack pointer as one more register: what is below it is the program's. Right: results and memory are
# as without xol, whatever takes the place of a probed instruction; nobody is killed here.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -o odd odd.c || exit 99
control 'wrong 0 0' ./odd
for command in count trace; do
  for strategy in auto jump boost; do
    got=$(timeout 20 "$XOL" $command './odd:by_*+*' --strategy $strategy -o report -- ./odd 2>err)
    eq "$command, $strategy, launched" '0 wrong 0' "$? $got"
    ./odd >out & program=$!; later $program
    sleep 0.1
    timeout 20 "$XOL" $command './odd:by_*+*' --strategy $strategy --duration 0.2 -o report -p $program 2>err
    end_of $program
    eq "$command, $strategy, attached" '0 wrong 0' "$? $(cat out)"
  done
done
timeout 20 "$XOL" count './odd:by_carry+*' --strategy jump -o report -- ./odd >out 2>err
has 'the reason' report 'no-stack'
done_
