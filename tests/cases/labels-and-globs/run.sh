#!/bin/bash
# A function of assembly is a label without a type; `xol list` has it.
# Right: a glob means it as its exact name does.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o p p.c || exit 99
control "7 0" ./p
"$XOL" list ./p 'rt_*' >list
has "xol list has it" list 'label.*rt_add_asm'
for probe in ./p:rt_add_asm './p:rt_*' './p:*_asm' 'rt_add_as?'; do
  rm -f counts
  eq "$probe, output" "7 0" "$(timeout 20 "$XOL" count --format json -o counts "$probe" -- ./p 2>err) $?"
  eq "$probe, hits" 7 "$(hits counts . 2>/dev/null)"
done
done_
