#!/bin/bash
# A load faults, and its handler mends that, leaves by siglongjmp, goes on behind it, faults itself, swaps contexts, makes
# calls, forks; with a timer beside. Right: as many hits as calls, each time.
. "$(dirname "$0")/../lib.sh"
gcc -O2 -Wno-format -o f f.c || exit 99
for kind in mend longjmp nested same swap calls over timer fork; do
  for alternate in '' alternate; do
    # A fault on the alternate stack, and a context that goes on there, need it twice.
    [ -n "$alternate" ] && [ $kind == swap ] && continue
    want=$(./f $kind $alternate) || { echo "no case: $kind $alternate"; exit 99; }
    for strategy in boost xol auto; do
      got="$(timeout 20 "$XOL" count ./f:load --strategy $strategy --format json -o report -- ./f $kind $alternate) $?"
      eq "program, $kind $alternate, $strategy" "$want 0" "$got"
      eq "hits, $kind $alternate, $strategy" "${want%% *}" "$(hits report 'f:load\b')"
    done
  done
done
done_
