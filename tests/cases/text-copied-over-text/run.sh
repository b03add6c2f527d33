#!/bin/bash
# A probed program copies its own text, with all that is in it, and moves the copy by mremap to where the text was.
# Right: it runs as without xol: started by it, visited, and after the visit; and hits are counted in the copy too.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -o copy copy.c || exit 99
control 'wrong 0 0' ./copy
for strategy in auto jump boost xol; do
  got=$(timeout 20 "$XOL" count ./copy:work --strategy $strategy --format json -o report -- ./copy 2>err)
  eq "$strategy, started" '0 wrong 0' "$? $got"
  [ "$(hits report work)" -gt 1000 ] && ok "$strategy, hits" || bad "$strategy, hits: $(hits report work)"
  ./copy >out & program=$!; later $program
  sleep 0.2
  timeout 20 "$XOL" count ./copy:work --strategy $strategy --duration 0.5 -o report -p $program 2>err
  end_of $program; eq "$strategy, visited" '0 wrong 0' "$? $(cat out)"
done
done_
