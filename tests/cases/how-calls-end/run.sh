#!/bin/bash
# Calls end by a return, an exception through two of them, exec and the end of a thread.
# Right: each has one object that says how it has ended, with its arguments, and only those that return have a value.
. "$(dirname "$0")/../lib.sh"
g++ -O1 -fno-inline -o p p.cc -pthread 2>/dev/null || exit 99
control "done 0" ./p
ends() { python3 - "$1" <<'P'
import json, sys
for line in sorted(f"{e['symbol']} {e['args'].get('n')} {e['end']} {e.get('ret')}" for e in map(json.loads, open(sys.argv[1]))):
    print(line)
P
}
wanted="deeper 1 return 12
deeper 2 unwound None
deeper 3 return 14
last 7 return 7
leaver 6 exit None
runner 5 exec None
thrower 1 return 11
thrower 2 unwound None
thrower 3 return 13"
for strategy in auto jump; do
  eq "$strategy, status" "done 0" "$(timeout 20 "$XOL" trace -f --strategy $strategy --format json -o json 'thrower(n: i32) -> i32' \
    'deeper(n: i32) -> i32' 'runner(n: i32) -> i32' 'leaver(n: i32) -> void' 'last(n: i32) -> i32' -- ./p 2>err) $?"
  eq "$strategy, ends" "$wanted" "$(ends json)"
done
timeout 20 "$XOL" trace -f -o lines 'thrower(n: i32) -> i32' 'deeper(n: i32) -> i32' -- ./p >/dev/null 2>err
has "a call in which another is made has two lines" lines 'deeper.n: 1. <unfinished …>'
has "the inner one has one" lines 'thrower.n: 1. -> 11 '
has "and goes on behind it" lines '<… deeper resumed> -> 12 '
done_
