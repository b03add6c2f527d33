#!/bin/bash
# Somebody counts in a program whose children are killed at birth, or exit at once; launched and attached, with and
# without -f.
# Right: xol goes on, says nothing about children that are no more, and the program sees what it sees without xol.
. "$(dirname "$0")/../lib.sh"
gcc -O2 -o kids kids.c || exit 99
for how in kill fork vfork; do
  control "bad 0 0" ./kids $how 0
  for follow in '' -f; do
    timeout -k 1 20 "$XOL" count $follow ./kids:f -o report -- ./kids $how 1 >out 2>err
    eq "$how $follow, launched" "0 bad 0" "$? $(cat out)"
    hasnot "$how $follow, launched: nothing is said" err '^xol:'
    ./kids $how 3 >out 2>/dev/null & program=$!; later $program
    sleep 0.2
    timeout -k 1 20 "$XOL" count $follow ./kids:f --duration 0.3 -o report -p $program 2>err
    eq "$how $follow, attached" 0 $?
    hasnot "$how $follow, attached: nothing is said" err '^xol:'
    end_of $program
    eq "$how $follow, the program" "0 bad 0" "$? $(cat out)"
  done
done
done_
