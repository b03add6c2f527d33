#!/bin/bash
# A program writes an operand of the very instruction that is probed, whose copy is elsewhere. Right: it runs by what it
# has written, in all strategies, during the visit and after it, and every call is counted.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -o patch patch.c || exit 99
control 'wrong 0 0' ./patch
control 'wrong 0 0' ./patch stays
for strategy in boost xol auto jump; do
  for how in '' stays; do
    got=$(timeout 20 "$XOL" count ./patch:work --strategy $strategy --format json -o report -- ./patch $how 2>err)
    eq "$strategy, started $how" '0 wrong 0' "$? $got"
    eq "$strategy, hits" "$(tail -1 err)" "$(hits report work)"
    ./patch $how >out & program=$!; later $program
    sleep 0.2
    timeout 20 "$XOL" count ./patch:work --strategy $strategy --duration 0.5 -o report -p $program 2>err
    end_of $program; eq "$strategy, visited $how" '0 wrong 0' "$? $(cat out)"
  done
done
done_
