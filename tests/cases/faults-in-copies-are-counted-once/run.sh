#!/bin/bash
# A load faults, and its handler mends that, leaves by siglongjmp, goes on behind it, faults itself, swaps contexts, makes
# calls, forks; with a timer beside. Right: as many hits as calls, each time.
. "$(dirname "$0")/../lib.sh"
gcc -O2 -Wno-format -o f f.c || exit 99
for kind in mend longjmp nested same swap calls over timer fork; do
  for alternate in '' alternate; do
    # A context that goes on in a handler needs the alternate stack twice.
    [ -n "$alternate" ] && [[ $kind =~ ^(swap|over|timer|fork)$ ]] && continue
    want=$(./f $kind $alternate) || { echo "no case: $kind $alternate"; exit 99; }
    for strategy in boost auto; do
      got="$(timeout 20 "$XOL" count ./f:load --strategy $strategy --format json -o report -- ./f $kind $alternate) $?"
      eq "program, $kind $alternate, $strategy" "$want 0" "$got"
      eq "hits, $kind $alternate, $strategy" "${want%% *}" "$(hits report 'f:load\b')"
    done
  done
done
done_
